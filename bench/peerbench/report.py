"""A measurement as Markdown."""

from . import cases

NONE = "–"
COLUMNS = ["kernel", "shape", "threads", "lldm", "of peak", "candle", "ggml", "torch", "over ggml", "over torch"]


def markdown(report):
    """The whole page: what ran where, the table, and how to read it."""
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    left_out = report["left_out"]
    lines = [
        f"{report['date']}, {report['cpu']}, {report['cores']} cores; load average {report['load_average'][0]} before and "
        f"{report['load_average'][1]} after.",
        "",
        f"Rounds: {report['rounds']}, {report['seconds']} s for each product; in each round ours, then ggml, then torch; the "
        "medians. GFLOP/s; of integers GOP/s. \"Over\" is ours over the fastest that the peer has, round by round.",
        *([f"Left out: {', '.join(left_out)}."] if left_out else []),
        "",
        *table([COLUMNS, *map(row, report["rows"])]),
        "",
        f"Versions: {versions}.",
        "",
        "```sh",
        *report["commands"],
        "```",
    ]
    return "\n".join(lines)


def row(measured):
    """One row of the table."""
    own = measured["lldm"] or {}
    cells = [measured["kernel"], cases.shape_name(measured["shape"]), str(measured["threads"])]
    cells += [number(own.get("gflops")), share(own.get("peak_ratio")), number(own.get("candle_gflops"))]
    for peer in ("ggml", "torch"):
        found = [product for product in measured["peers"] if product["peer"] == peer]
        cells.append("; ".join(f"{product['name']} {number(product['gflops'])}" for product in found) or NONE)
    for peer in ("ggml", "torch"):
        cells.append(best(measured, peer))
    return cells


def best(measured, peer):
    """Ours over the fastest that a peer has."""
    found = [product for product in measured["peers"] if product["peer"] == peer and product["lldm_ratio"] is not None]
    if not found:
        return NONE
    return f"{max(found, key=lambda product: product['gflops'])['lldm_ratio']:.2f}"


def number(value):
    """A rate without decimals."""
    return NONE if value is None else f"{value:.0f}"


def share(value):
    """A share in per cent."""
    return NONE if value is None else f"{100 * value:.0f}%"


def table(rows):
    """Lines of a Markdown table whose first row is its head."""
    head, *body = [f"| {' | '.join(cells)} |" for cells in rows]
    return [head, "|" + "---|" * len(rows[0]), *body]
