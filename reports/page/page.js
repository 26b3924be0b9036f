"use strict";
(function () {
  function key(row, column) {
    var cell = row.cells[column];
    var value = cell.getAttribute("data-value");
    if (value === null) { return cell.textContent; }
    if (value === "inf") { return Infinity; }
    if (value === "-inf") { return -Infinity; }
    return parseFloat(value);
  }
  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") {
      if (isNaN(a) || isNaN(b)) { return (isNaN(a) ? 1 : 0) - (isNaN(b) ? 1 : 0); }
      return a < b ? -1 : a > b ? 1 : 0;
    }
    return String(a).localeCompare(String(b), "en", { numeric: true });
  }
  function sort(table, column) {
    var heads = table.tHead.rows[0].cells;
    var up = heads[column].getAttribute("aria-sort") !== "ascending";
    var body = table.tBodies[0];
    var rows = Array.prototype.map.call(body.rows, function (row, index) {
      return { row: row, key: key(row, column), index: index };
    });
    rows.sort(function (a, b) {
      var order = compare(a.key, b.key);
      return (up ? order : -order) || a.index - b.index;
    });
    Array.prototype.forEach.call(heads, function (head) { head.setAttribute("aria-sort", "none"); });
    heads[column].setAttribute("aria-sort", up ? "ascending" : "descending");
    rows.forEach(function (one) { body.appendChild(one.row); });
  }
  Array.prototype.forEach.call(document.querySelectorAll("table.sortable"), function (table) {
    Array.prototype.forEach.call(table.tHead.rows[0].cells, function (head, column) {
      head.querySelector("button").addEventListener("click", function () { sort(table, column); });
    });
  });
  var hidden = {};
  function show(element) {
    var off = Array.prototype.some.call(element.classList, function (name) { return hidden[name]; });
    element.style.display = off ? "none" : "";
  }
  Array.prototype.forEach.call(document.querySelectorAll("fieldset.methods"), function (set) {
    set.hidden = false;
    set.addEventListener("change", function (event) {
      hidden[event.target.value] = !event.target.checked;
      Array.prototype.forEach.call(document.getElementsByClassName(event.target.value), show);
    });
  });
})();
