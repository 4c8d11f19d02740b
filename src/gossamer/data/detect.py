"""Detection of encoding, field separator and decimal mark of a text file."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator

from gossamer.data.numbers import parse
from gossamer.errors import InputError

__all__ = ["find_decimal", "find_encoding", "find_separator", "first_records", "head", "records"]

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark begins it
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HEAD = 1 << 20  # characters that are looked at
_RECORDS = 500  # lines among them
_FIELDS = 20_000  # fields whose decimal mark is looked for
_WORDS = 2000  # different ones beyond ASCII that the detector looks at
_WORD = re.compile(rb"[A-Za-z\x80-\xff]+")
_COMMON = "€£°²³§®™–—‘’“”…·±×½¼¿¡«»"
_SIGN_IN_WORD = re.compile(r"[^\W\d_][^\w\s'’´`·.-][^\W\d_]|[¹²³¼½¾£¥¿][^\W\d_]")

# Where codecs agree about a text, the usual one is named; the detector looks among those in use for tables.
_CODECS = (
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "koi8_r", "mac_roman",
    "shift_jis", "cp932", "euc_jp", "gb18030", "big5", "euc_kr", "cp949",
)  # fmt: skip


def find_encoding(content: bytes, where: str, known: str | None = None) -> str:
    """A codec that decodes ``content``: by its byte-order mark, UTF-8, UTF-16 without a mark, ``known``, or a guess.

    Valid UTF-8 that is not ASCII is UTF-8. Else the encoding ``known`` from an earlier file of the kind comes
    first, and then the guess of charset-normalizer, which knows languages by the frequency of their letters.
    """
    for mark, name in _BOMS:
        if content.startswith(mark):
            return name
    if b"\0" in content[:_HEAD]:
        sample = content[: _HEAD - _HEAD % 2]
        even, odd = sample[::2].count(0), sample[1::2].count(0)
        if max(even, odd) > len(sample) / 8 and min(even, odd) <= max(even, odd) / 16:
            return "utf-16-be" if even > odd else "utf-16-le"
        raise ValueError("it holds zero bytes, as no text does")
    try:
        content.decode("utf-8")
        return "utf-8"
    except UnicodeDecodeError:
        pass
    if known is not None and not known.startswith("utf"):
        try:
            content.decode(known)
            return known
        except UnicodeDecodeError:
            pass
    return _guess(content, where)


def _guess(content: bytes, where: str) -> str:
    """An encoding of one byte a letter, or of East Asia: Western European where that is as likely as any other."""
    from charset_normalizer import from_bytes

    words = dict.fromkeys(word for word in _WORD.findall(content) if not word.isascii())
    evidence = b" ".join(list(words)[:_WORDS])
    best = from_bytes(evidence, cp_isolation=list(_CODECS), enable_fallback=False).best()
    western = _western(evidence)
    if western is not None and (best is None or best.coherence < western or str(best) == evidence.decode("cp1252")):
        best_name = "cp1252"
    else:
        best_name = "" if best is None else best.encoding
    try:
        content.decode(best_name)
    except (UnicodeDecodeError, LookupError):
        raise InputError(f"{where} must be text, got bytes of unknown encoding: give it with --encoding") from None
    return best_name


def _western(evidence: bytes) -> float | None:
    """How coherent as a language another reading has to be to be preferred to cp1252; None if cp1252 can't be.

    Words of other alphabets would have nearly no ASCII letters, and those of other languages signs among their letters.
    """
    try:
        text = evidence.decode("cp1252")
    except UnicodeDecodeError:
        return None
    letters = [c for c in text if c.isalpha()]
    foreign = sum(not c.isascii() for c in letters)
    signs = [c for c in text if not c.isascii() and not c.isalpha() and c not in _COMMON]
    if foreign > 0.75 * len(letters) or 4 * len(signs) > foreign or _SIGN_IN_WORD.search(text):
        return None
    return 0.5


def head(content: bytes, encoding: str) -> tuple[str, bool]:
    """Return the first part of the text, and whether it is the whole text."""
    decoder = codecs.getincrementaldecoder(encoding)()
    text = decoder.decode(content[:_HEAD], final=len(content) <= _HEAD)
    return text, len(content) <= _HEAD


def records(text: io.TextIOBase, separator: str) -> Iterator[list[str]]:
    """The fields of each line, trimmed at the start; quoted ones may hold separators and line ends."""
    if separator == " ":
        lines = (line.strip().replace("\t", " ") + "\n" for line in iter(text.readline, ""))
        return csv.reader(lines, delimiter=" ", skipinitialspace=True)
    return csv.reader(iter(text.readline, ""), delimiter=separator, skipinitialspace=True)


def first_records(text: str, whole: bool, separator: str) -> list[list[str]]:
    """Return the first lines that are not empty; the last one only if it is not cut."""
    found: list[list[str]] = []
    try:
        for fields in records(io.StringIO(text, newline=""), separator):
            if fields and (found or any(field.strip() for field in fields)):
                found.append(fields)
            if len(found) == _RECORDS:
                return found
    except csv.Error:
        pass
    return found if whole or len(found) < 2 else found[:-1]


def find_separator(text: str, whole: bool) -> str:
    """The character that divides every one of the first lines into the same number of fields, two or more.

    Of several, the one with most fields; blanks only if there is no other. Where none does, the one that divides most
    lines as it divides the first, and a comma if no line is divided at all.
    """
    best, score = ",", (0.0, 0)
    for separator in (",", ";", "\t", "|", "^", "~", ":", " "):
        rows = first_records(text, whole, separator)
        width = len(rows[0]) if rows else 0
        if width < 2:
            continue
        same = sum(len(row) == width for row in rows) / len(rows)
        candidate = (same, 0 if separator in " :" else width)
        if candidate > score:
            best, score = separator, candidate
    return best


_DOTTED = re.compile(r"[-+]?\d{1,3}(\.\d{3})+")


def find_decimal(rows: list[list[str]], separator: str, where: str) -> str | None:
    """``"."`` or ``","`` from the fields of the first lines below the header; None where no number shows it.

    A comma is decimal where the digits around it can't be groups of three. `InputError` where all numbers could be
    read either way, unless commas separate the fields: who quotes a number for its comma writes 1,234 for a thousand.
    """
    commas = dots = False
    doubtful: tuple[str, str] | None = None
    width = min(max(map(len, rows), default=0), max(1, _FIELDS // max(1, len(rows))))
    for j in range(width):
        fields = [row[j].strip() for row in rows[1:] if len(row) > j]
        grouped, plain = "", False
        for field in fields:
            if "," in field or "." in field:
                by_dot, by_comma = parse(field, "."), parse(field, ",")
                if by_dot is None and by_comma is None:
                    continue
                if by_comma is None or (by_dot is not None and "." in field and not _DOTTED.fullmatch(field)):
                    dots = True
                elif by_dot is None:
                    commas = True
                else:
                    grouped = field
            elif field.isdigit():
                plain = True
        if grouped and doubtful is None and ("," in grouped or plain):
            doubtful = rows[0][j] if j < len(rows[0]) else "", grouped
    if commas != dots:
        return "," if commas else "."
    if commas or doubtful is None or separator == ",":
        return "." if commas or doubtful is not None else None
    raise InputError(
        f"column {doubtful[0].strip()!r} of {where} has numbers like {doubtful[1]!r}, which may be read in two ways: "
        f"give --decimal , or --decimal ."
    )
