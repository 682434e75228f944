"""What the checks need to know about C++ text: how to blank out what is not code, and where the sources are.

Blanking keeps every line break and column, so that line numbers stay those of the file.
"""
import pathlib
import re

_TOKEN = re.compile(
    r"""(?P<line>//[^\n]*)
      | (?P<block>/\*.*?\*/)
      | (?P<raw>R"(?P<tag>[^()\s\\]{0,16})\(.*?\)(?P=tag)")
      | (?P<string>"(?:\\.|[^"\\\n])*")
      | (?P<number>\b\d[\w'.]*)
      | (?P<char>'(?:\\.|[^'\\\n])+')""",
    re.S | re.X)


def _blank(text):
    return re.sub(r"[^\n]", " ", text)


def code_only(text):
    """The text with comments, string and character literals replaced by blanks of the same shape."""
    def replace(match):
        if match.lastgroup == "number" or match.group("number"):
            return match.group(0)  # 1'000'000 is a number, not a character literal
        if match.group("string") or match.group("raw"):
            return '"' + _blank(match.group(0))[1:-1] + '"'
        return _blank(match.group(0))
    return _TOKEN.sub(replace, text)


def without_directives(code):
    """`code` with preprocessor lines (and their continuations) blanked."""
    return re.sub(r"^[ \t]*#(?:[^\n\\]|\\\n|\\.)*", lambda m: _blank(m.group(0)), code, flags=re.M)


def sources(root, *folders):
    """All .hpp and .cpp files below the folders, sorted, as paths relative to `root`."""
    root = pathlib.Path(root)
    found = []
    for folder in folders:
        for path in (root / folder).rglob("*"):
            if path.suffix in (".hpp", ".cpp") and path.is_file():
                found.append(path.relative_to(root))
    return sorted(found)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1
