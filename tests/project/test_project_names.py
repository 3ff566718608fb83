"""Whatever a file is called, its name in a project is safe on any disk, and stays what it is."""

from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from useg.data.dataset import stem_of
from useg.images import is_image_file
from useg.project.names import LONGEST, RESERVED, clean_name, free_name

NAMES = st.one_of(
    st.text(max_size=300),
    st.text("./\\ :con~%ü中.pngtif\x00", max_size=40),
    st.from_regex(r"(\.\./|[a-z]:\\){0,3}(CON|nul|com1|lpt9|aux)( ?\.[a-z.]{1,8})?", fullmatch=True),
)


@given(NAMES)
@example("../../etc/passwd")
@example("..\\..\\boot.ini")
@example(".hidden.png")
@example("a.nii.gz.ome.tif")
@example("CON .png")
@example("x" * 95 + ". . . . . . y.png")
@example("ﬁ\u0301.png")
def test_a_name_is_safe_and_its_own_clean_name(given_name: str) -> None:
    name = clean_name(given_name)
    assert 1 <= len(name) <= LONGEST and len(name.encode()) <= 200
    assert not set(name) & set('/\\:*?"<>|\x00\n') and name.isprintable()
    assert name == name.strip(". ")
    assert name.partition(".")[0].rstrip().lower() not in RESERVED
    assert clean_name(name) == name
    # A file of this name is that image again, whatever its suffix is.
    assert stem_of(Path(f"{name}.png")) == name and is_image_file(f"{name}.png")


@given(NAMES, st.sets(st.text("abAB_123", min_size=1, max_size=4), max_size=8))
def test_a_free_name_is_not_taken_whatever_its_case(given_name: str, taken: set[str]) -> None:
    name = clean_name(given_name)
    taken |= {name.upper(), f"{name}_2"}
    assert free_name(name, taken).casefold() not in {each.casefold() for each in taken}


def test_letters_of_all_scripts_stay() -> None:
    assert clean_name("Zelle_Größe 3-b.ome.tiff") == "Zelle_Größe 3-b"
    assert clean_name("細胞.png") == "細胞"
