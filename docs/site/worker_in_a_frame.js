// Search without a server. Browsers refuse workers to pages that are opened from a disk (file://); the theme then asks
// the web for a substitute. This one is in the site: a "worker" is a script in a hidden frame, which gets and sends
// messages as a worker would. Only what the theme's search needs: message events, postMessage, importScripts, terminate.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(address) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const inside = this.frame.contentWindow, page = this.frame.contentDocument;
      const load = (source) => new Promise((done, failed) => {
        const script = page.createElement("script");
        Object.assign(script, { src: new URL(source, document.baseURI).href, onload: done, onerror: failed, async: false });
        page.head.append(script);
      });
      this.deliver = (data) => inside.dispatchEvent(new inside.MessageEvent("message", { data }));
      inside.importScripts = (...sources) => Promise.all(sources.map(load));
      inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      this.ready = load(address);
    }
    postMessage(data) { this.ready.then(() => this.deliver(data)); }
    terminate() { this.frame.remove(); }
  };
}
