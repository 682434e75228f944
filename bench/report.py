"""Tables and verdicts from the results of device_bench.py."""

BEGIN, END = "<!-- results: written by bench/run.sh -->", "<!-- end of results -->"


def short(value):
    return f"{value / 1000:.1f}k" if value >= 10000 else f"{value:.0f}"


def median(row, target):
    return row["targets"][target]["median"]


def table(rows, reference):
    targets = list(rows[0]["targets"])
    lines = ["| workload | unit | " + " | ".join(targets) + " |", "|---" * (len(targets) + 2) + "|"]
    for row in rows:
        base = median(row, reference)
        cells = [f"{short(median(row, t))} ({median(row, t) / base:.2f})" for t in targets]
        lines.append(f"| {row['workload']} | {row['unit']} | " + " | ".join(cells) + " |")
    return lines


def verdicts(results):
    """The aims, each with what this run says."""
    lines = []

    def check(text, ratio, aim):
        lines.append(f"* {text}: {ratio:.2f} (aim: {aim}) {'met' if ratio >= aim else '**missed**'}")

    for row in results["rows"]:
        if row["part"] == "data path" and row["backing"] == "tmpfs" and row["workload"].endswith("4k qd32"):
            ours = median(row, "ploop")
            check(f"{row['workload']}, tmpfs, against the loop device", ours / median(row, "loop"), 0.5)
            check(f"{row['workload']}, tmpfs, against qemu-storage-daemon", ours / median(row, "qcow2"), 3)
        if row["part"] == "allocating writes":
            check(f"allocating writes, {row['backing']}, against qemu-img bench", median(row, "ploop") / median(row, "qcow2"), 2)
        if row["part"] == "chain depth":
            deep = next(t for t in row["targets"] if t != "depth 1")
            check(f"{row['workload']}, {deep} against depth 1", median(row, deep) / median(row, "depth 1"), 0.95)
    return lines


def markdown(results):
    m = results["machine"]
    lines = [f"Linux {m['kernel']}, {m['cpus']} CPUs ({m['cpu']}), {m['fio']}, QEMU {m['qemu']}, {m['date']}; "
             f"median of {results['repetitions']} (chain depth: at least 5), targets taking turns, "
             f"{results['seconds']} s in all. In brackets: ratio to the first column of the same run.", ""]
    groups = {}
    for row in results["rows"]:
        groups.setdefault((row["part"], row["backing"]), []).append(row)
    reference = {"data path": "loop", "allocating writes": "qcow2", "chain depth": "depth 1"}
    for (part, backing), rows in groups.items():
        for row in rows:  # the reference first
            row["targets"] = dict(sorted(row["targets"].items(), key=lambda t: (t[0] != reference[part], t[0])))
        lines += [f"### {part.capitalize()}, {backing}", "", *table(rows, reference[part]), ""]
    aims = verdicts(results)
    if aims:
        lines += ["### Aims", "", *aims, ""]
    return "\n".join(lines)


def replace_section(document, text):
    """Puts the text between the two markers of the document."""
    old = document.read_text()
    head, _, rest = old.partition(BEGIN)
    _, _, tail = rest.partition(END)
    if not rest:
        raise SystemExit(f"bench: {document} has no line {BEGIN}")
    document.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}")
