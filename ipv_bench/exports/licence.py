"""Whether data may be passed on, and that a card says under which licence."""

from __future__ import annotations

from ipv_bench.errors import ConfigError, IpvBenchError, ShardSetError
from ipv_bench.exports.config import HfExportConfig
from ipv_bench.plugins import find_plugin


def not_to_be_passed_on(data_set: str) -> str:
    """Why videos of a data set may not be passed on, in words; empty where that is not known.

    The data set's own file says it (`redistribution`), so that a plug-in's is asked like ours.
    """
    try:
        return str(getattr(find_plugin("datasets", data_set).load(), "redistribution", ""))
    except IpvBenchError:  # a set made elsewhere by a plug-in that is not installed here
        return ""


def check_licence(what: str, data_set: str, config: HfExportConfig) -> None:
    """Refuse what may not be shared, and a card without a licence, unless the target is private.

    Args:
        what: what is exported, for messages.
        data_set: name of the data set that is in it; empty for weights.
        config: of the export.

    Raises:
        ShardSetError: the data set's licence forbids it.
        ConfigError: no licence is given.
    """
    if config.private:
        return
    reason = not_to_be_passed_on(data_set) if data_set else ""
    if reason:
        raise ShardSetError(
            f"{what} may not be passed on: {reason}",
            expected="data whose licence allows it, or a private target",
            fix="for a private repository say so: `--set private=true`",
        )
    if not config.licence:
        raise ConfigError(
            f"{what} would get a card without a licence",
            expected="the licence under which it is shared, as the hub names it",
            fix="add `--set licence=cc-by-4.0` (or mit, other, …); for a private repository `--set private=true`",
        )
