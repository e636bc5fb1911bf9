"""/metrics is what a scraper can read (Prometheus text format 0.0.4), and all of it documented."""
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_][a-zA-Z0-9_]*=\"(?:[^\"\\\n]|\\.)*\",?)*\})? "
                    r"([-+]?(?:\d+(?:\.\d+)?(?:e[-+]?\d+)?|Inf|NaN))")
TYPES = {"counter", "gauge", "histogram"}


def lint(text: str) -> dict:
    """{name: type}; asserts the format."""
    assert text.endswith("\n")
    types: dict = {}
    helped: set = set()
    seen: set = set()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, words = line[len("# HELP "):].split(" ", 1)
            assert words.strip() and name not in helped, line
            helped.add(name)
        elif line.startswith("# TYPE "):
            name, kind = line[len("# TYPE "):].split(" ")
            assert kind in TYPES and name not in types, line
            types[name] = kind
        else:
            match = SAMPLE.fullmatch(line)
            assert match, f"not a sample: {line!r}"
            name, labels = match.group(1), match.group(2) or ""
            assert (name, labels) not in seen, f"twice: {line}"
            seen.add((name, labels))
            family = re.sub(r"_(bucket|sum|count)$", "", name)
            family = family if types.get(family) == "histogram" else name
            assert family in types and family in helped, f"no TYPE or HELP before: {line}"
            counts = types[family] == "counter"
            assert counts == family.endswith("_total"), f"{family} is a {types[family]}"
            if counts:
                assert float(match.group(3)) >= 0, line
    return types


def test_metrics_are_valid_and_documented(three):
    assert three[0].call("SET", "k", "v") == "OK"
    types = lint(three[0].http("/metrics")[1])
    assert len(types) > 40
    documented = (ROOT / "docs/reference/metrics.md").read_text(encoding="utf-8")
    for name, kind in types.items():
        assert re.search(rf"^\| `{name}[`{{].*\| {kind} \|", documented, re.M), \
            f"{name} ({kind}) has no row in docs/reference/metrics.md"
    for name in re.findall(r"^\| `(holon_\w+)", documented, re.M):
        assert name in types, f"{name} is documented and not served"


def test_the_lint_sees():
    good = "# HELP a_total words\n# TYPE a_total counter\na_total 1\n"
    assert lint(good) == {"a_total": "counter"}
    for bad in (good.replace(" 1", " x"), good + "a_total 1\n", good.replace("a_total", "a"),
                good.replace("# HELP a_total words\n", ""), good.rstrip("\n"),
                good.replace("a_total 1", "a-total 1"), good.replace("counter", "number")):
        try:
            lint(bad)
        except (AssertionError, ValueError):
            continue
        raise AssertionError(f"not seen: {bad!r}")
