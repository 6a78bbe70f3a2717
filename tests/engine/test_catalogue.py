from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api_factory.actions import (
    BUILT_IN_SCOPES,
    DEFAULT_SCOPES,
    ActionDefinitionError,
    Catalogue,
)
from api_factory.actions.names import RESERVED_FIELDS

Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write modules into a fresh working directory; forget them afterwards."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])

    def write_module(path: str, source: str) -> None:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("from api_factory import action\n" + textwrap.dedent(source), encoding="utf-8")

    yield write_module
    for name in set(sys.modules) - before:
        del sys.modules[name]


def offered_by_package(directory: Path, entry_points: str) -> None:
    """Make an installed distribution of a folder, as an installer would."""
    info = directory / "shop-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(textwrap.dedent(entry_points), encoding="utf-8")
    sys.path.append(str(directory))


def test_the_built_in_actions_are_always_there_and_first() -> None:
    catalogue = Catalogue.load([], entry_points=False)

    assert [each.name for each in catalogue] == ["ping", "echo"]
    ping, echo = catalogue
    assert (ping.public, ping.charge, ping.units) == (True, "free", 0)
    assert (echo.public, echo.charge, echo.units, echo.scope) == (False, "on_success", 1, "RUN_ACTIONS")


async def test_ping_answers_pong_and_echo_the_text() -> None:
    ping, echo = Catalogue.load([], entry_points=False)

    assert await ping.function() == "pong"
    assert await echo.function("a\0b") == "a\0b"


def test_a_module_of_the_working_directory_is_found_and_kept_in_order(write: Write) -> None:
    write(
        "shop_order.py",
        """
        @action
        def zebra(text: str) -> str: return text

        @action(scope="READ_BOOKS")
        def apple(text: str) -> str: return text
        """,
    )

    catalogue = Catalogue.load(["shop_order"], entry_points=False)

    assert [each.name for each in catalogue] == ["ping", "echo", "zebra", "apple"]
    assert len(catalogue) == 4
    assert "zebra" in catalogue
    assert "lion" not in catalogue
    assert catalogue.get("apple") is list(catalogue)[3]
    assert catalogue.get("lion") is None
    assert catalogue.scopes == {*BUILT_IN_SCOPES, "READ_BOOKS"}
    assert set(DEFAULT_SCOPES) <= set(BUILT_IN_SCOPES)


def test_an_action_is_found_by_its_field(write: Write) -> None:
    write("shop_field.py", "@action\ndef word_count(text: str) -> int: return 0")

    catalogue = Catalogue.load(["shop_field"], entry_points=False)

    assert catalogue.by_field_name("wordCount") is catalogue.get("word_count")
    assert catalogue.by_field_name("word_count") is None


def test_an_action_met_twice_counts_once(write: Write) -> None:
    write("shop_pack/books.py", "@action\ndef book(text: str) -> str: return text")
    write("shop_pack/__init__.py", "from shop_pack.books import book\nalias = book")

    catalogue = Catalogue.load(["shop_pack", "shop_pack.books", "shop_pack"], entry_points=False)

    assert [each.name for each in catalogue] == ["ping", "echo", "book"]


def test_the_working_directory_shadows_no_package(write: Write, tmp_path: Path) -> None:
    write("shop_last.py", "@action\ndef book(text: str) -> str: return text")

    Catalogue.load(["shop_last"], entry_points=False)
    Catalogue.load(["shop_last"], entry_points=False)

    assert sys.path[-1] == str(tmp_path)
    assert sys.path.count(str(tmp_path)) == 1


def test_installed_packages_offer_modules_and_single_actions(write: Write, tmp_path: Path) -> None:
    write("site/shop_books.py", "@action\ndef book(text: str) -> str: return text")
    write(
        "site/shop_toys.py",
        """
        @action
        def ball(text: str) -> str: return text
        @action
        def hidden(text: str) -> str: return text
        class Box: lid = ball
        """,
    )
    write("shop_mine.py", "@action\ndef mine(text: str) -> str: return text")
    offered_by_package(
        tmp_path / "site",
        "[api_factory.actions]\nb = shop_toys:ball\nbox = shop_toys:Box.lid\na = shop_books\n",
    )

    found = [each.name for each in Catalogue.load(["shop_mine"])]

    assert [name for name in found if name in {"mine", "book", "ball", "hidden"}] == ["mine", "book", "ball"]
    assert "book" not in Catalogue.load(["shop_mine"], entry_points=False)


@pytest.mark.parametrize("value", ["shop_nothing:plain", "shop_nothing:absent", "shop_nothing:book.absent"])
def test_an_entry_point_that_is_no_action_is_refused(write: Write, tmp_path: Path, value: str) -> None:
    write("site/shop_nothing.py", "@action\ndef book(text: str) -> str: return text\ndef plain(): pass")
    offered_by_package(tmp_path / "site", f"[api_factory.actions]\nwrong = {value}\n")

    with pytest.raises(ActionDefinitionError) as refusal:
        Catalogue.load([])

    assert refusal.value.message == (
        f"The entry point wrong = {value!r}: it is no action; "
        "name a module, or module:function with @action on the function."
    )


def test_a_module_that_is_not_there_is_named_with_the_fix(write: Write, tmp_path: Path) -> None:
    with pytest.raises(ActionDefinitionError) as refusal:
        Catalogue.load(["shop_absent.books"], entry_points=False)

    assert refusal.value.message == (
        "The module shop_absent.books: cannot be imported (No module named 'shop_absent'); "
        f"check the name, install it, or start in the folder that holds it (looked in {tmp_path})."
    )


@pytest.mark.parametrize("name", ["", "./shop.py", "shop..books", ".shop"])
def test_what_is_no_module_name_is_refused(write: Write, name: str) -> None:
    with pytest.raises(ActionDefinitionError) as refusal:
        Catalogue.load([name], entry_points=False)

    assert refusal.value.message == (
        f"The module {name!r}: is no name of a module; write it with dots, like my_actions.text, "
        "and without a folder or .py."
    )


@pytest.mark.parametrize(
    ("source", "cause"),
    [("1/0", "ZeroDivisionError: division by zero"), ("def", "SyntaxError: invalid syntax")],
)
def test_a_module_that_breaks_at_import_is_named_with_the_cause(
    write: Write, source: str, cause: str
) -> None:
    write("shop_broken.py", source)

    with pytest.raises(ActionDefinitionError) as refusal:
        Catalogue.load(["shop_broken"], entry_points=False)

    assert refusal.value.message.startswith(f"The module shop_broken: cannot be imported ({cause}")
    assert refusal.value.message.endswith("); correct what it does at import.")


def test_a_module_without_actions_is_refused(write: Write, tmp_path: Path) -> None:
    write("shop_empty.py", "text = ''")

    with pytest.raises(ActionDefinitionError) as refusal:
        Catalogue.load(["shop_empty"], entry_points=False)

    assert refusal.value.message == (
        f"The module shop_empty ({tmp_path / 'shop_empty.py'}): it has no actions; "
        "mark a function with @action, or import one there."
    )


def test_a_folder_that_is_no_package_is_refused_as_such(write: Write) -> None:
    write("shop_folder/books.py", "@action\ndef book(text: str) -> str: return text")

    with pytest.raises(ActionDefinitionError, match=r"shop_folder \(a folder without __init__\.py\)"):
        Catalogue.load(["shop_folder"], entry_points=False)


def test_a_wrong_option_keeps_its_own_sentence_at_load(write: Write) -> None:
    write("shop_units.py", "@action(units=0)\ndef book(text: str) -> str: return text")

    with pytest.raises(ActionDefinitionError, match=r"^shop_units\.book: units=0 cannot be charged"):
        Catalogue.load(["shop_units"], entry_points=False)


@pytest.mark.parametrize("field_name", sorted(RESERVED_FIELDS))
def test_no_action_takes_a_field_of_the_server(write: Write, field_name: str) -> None:
    name = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in field_name)
    write("shop_reserved.py", f"@action(name={name!r})\ndef book(text: str) -> str: return text")

    with pytest.raises(ActionDefinitionError) as refusal:
        Catalogue.load(["shop_reserved"], entry_points=False)

    assert refusal.value.message == (
        f"shop_reserved.book: {field_name} is a field of the server itself; "
        "rename it, or give @action a name."
    )


def test_two_actions_of_one_field_are_refused(write: Write) -> None:
    write("shop_one.py", "@action\ndef book(text: str) -> str: return text")
    write("shop_two.py", "@action(name='book')\ndef volume(text: str) -> str: return text")

    with pytest.raises(ActionDefinitionError) as refusal:
        Catalogue.load(["shop_one", "shop_two"], entry_points=False)

    assert refusal.value.message == (
        "shop_two.volume: shop_one.book has the field book already; rename one, or give @action a name."
    )


def test_two_types_of_one_name_are_refused_and_the_same_one_is_shared(write: Write) -> None:
    dataclass = "from dataclasses import dataclass\n@dataclass\nclass Book:\n    title: str\n"
    write("shop_a.py", f"{dataclass}@action\ndef first(book: Book) -> list[Book]: return [book]")
    write("shop_b.py", f"{dataclass}@action\ndef second(text: str) -> Book | None: return None")

    assert [used.__name__ for used in Catalogue.load(["shop_a"], entry_points=False).types] == ["Book"]
    with pytest.raises(ActionDefinitionError) as refusal:
        Catalogue.load(["shop_a", "shop_b"], entry_points=False)

    assert refusal.value.message == (
        "shop_b.second: shop_b.Book and shop_a.Book would both be the type Book; "
        "rename one, as clients see no modules."
    )


def test_a_type_may_not_have_the_name_of_anothers_input(write: Write) -> None:
    write(
        "shop_inputs.py",
        """
        from dataclasses import dataclass

        @dataclass
        class Book:
            title: str

        @dataclass
        class BookInput:
            title: str

        @action
        def taking(book: Book) -> str: return book.title

        @action
        def giving(title: str) -> BookInput: return BookInput(title)
        """,
    )

    with pytest.raises(ActionDefinitionError) as refusal:
        Catalogue.load(["shop_inputs"], entry_points=False)

    assert refusal.value.message == (
        "shop_inputs.giving: shop_inputs.BookInput and shop_inputs.Book would both be the type BookInput; "
        "rename one, as clients see no modules."
    )


def test_a_module_that_ends_python_is_named_with_the_cause(write: Write) -> None:
    write("shop_exit.py", "import sys\nsys.exit(0)")

    with pytest.raises(ActionDefinitionError) as refusal:
        Catalogue.load(["shop_exit"], entry_points=False)

    assert refusal.value.message == (
        "The module shop_exit: cannot be imported (SystemExit: 0); correct what it does at import."
    )


def test_two_actions_of_one_name_in_a_module_are_refused(write: Write) -> None:
    write(
        "shop_twice.py",
        """
        @action
        def book(text: str) -> str: return text

        @action(name="other_book")
        def book(text: str) -> str: return text
        """,
    )

    with pytest.raises(ActionDefinitionError) as refusal:
        Catalogue.load(["shop_twice"], entry_points=False)

    assert refusal.value.message == (
        "shop_twice.book: its module has an action of that name already; rename one of the two."
    )


def test_a_module_may_be_read_again(write: Write) -> None:
    write("shop_again.py", "@action\ndef book(text: str) -> str: return text")

    Catalogue.load(["shop_again"], entry_points=False)
    importlib.reload(sys.modules["shop_again"])

    assert Catalogue.load(["shop_again"], entry_points=False).get("book") is not None
