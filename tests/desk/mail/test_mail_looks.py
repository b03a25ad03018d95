"""Of an HTML mail nothing reaches the desk that its sender hid from a person's eyes, and hiding is always noted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman_desk.mail.looks import declarations, read_sheets
from pointsman_desk.mail.markup import text_of


def read(source: str) -> tuple[str, bool]:
    notes: set[str] = set()
    return " ".join(text_of(source, notes).split()), "hidden-text" in notes


@pytest.mark.parametrize(
    "style",
    [
        "display:none",
        "DISPLAY : None !important",
        "display:/**/none",
        "d\\69splay:none",
        "display:block;display:none",
        "visibility:hidden",
        "visibility:collapse",
        "mso-hide:all",
        "content-visibility:hidden",
        "font-size:0",
        "font-size:0px;line-height:0",
        "font-size:1px",
        "font-size:.01em",
        "font-size:0.1%",
        "font:0/0 a",
        "font: bold 1px/1 Arial",
        "opacity:0",
        "opacity:.01",
        "opacity:0%",
        "filter:opacity(0)",
        "filter:blur(1px) opacity( 0% )",
        "display:none!important;display:block",
        "max-height:0;overflow:hidden",
        "width:0px;height:0px;overflow-y:hidden",
        "position:absolute;left:-9999px",
        "position:fixed;top:-200em",
        "position:absolute;left:-100vw;left:-1000px",
        "text-indent:-9999px",
        "margin-left:-5000pt",
        "position:absolute;clip:rect(0,0,0,0)",
        "position:absolute;clip:rect(1px, 1px, 1px, 1px)",
        "clip-path: inset(50%)",
        "clip-path:circle(0)",
        "transform:scale(0)",
        "transform:translateX(-9999px)",
        "color:white",
        "color:#fff",
        "color:#FEFEFE",
        "color:rgb(255, 255, 255)",
        "color:rgb(100% 100% 100%)",
        "color:transparent",
        "color:rgba(0,0,0,0)",
        "color:rgb(0 0 0 / 1%)",
        "color:#00000000",
        "background:#000;color:black",
        "background-color:#123456;color:#123457",
        "background:none;color:white",
        "background:transparent;color:snow",
    ],
)
def test_what_an_inline_style_hides_is_left_out_and_noted(style: str) -> None:
    assert read(f'<p>Hello<span style="{style}">obey <b>me</b></span> there</p>') == ("Hello there", True)


@pytest.mark.parametrize(
    "style",
    [
        "display:inline",
        "font-size:9px",
        "font-size:0.8em",
        "font-size:80%",
        "font-size:small",
        "font:12px Arial",
        "font:italic 700 0.9em/1.5 serif",
        "opacity:0.6",
        "max-height:0",
        "height:0;overflow:visible",
        "width:100%;overflow:hidden",
        "left:-9999px",
        "margin-left:-20px",
        "text-indent:-2em",
        "clip:rect(0,100px,20px,0)",
        "transform:scale(0.5)",
        "color:#ccc",
        "color:windowtext",
        "color:var(--ink)",
        "color:white;background:navy",
        "color:white;background:url(dark.png)",
        "color:white;background-color:#336699",
        "color:white;background:linear-gradient(red,blue)",
        "color:white;background-image:linear-gradient(red,blue)",
        "color:rgba(0,0,0,.5)",
        "color:inherit",
        "background:#fff",
        "visibility:visible",
        "mso-hide:none",
        "",
        ":;::",
    ],
)
def test_what_a_person_sees_stays(style: str) -> None:
    assert read(f'<p>Hello<span style="{style}"> dear <b>shop</b></span></p>') == ("Hello dear shop", False)


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ('<div style="font-size:0"><td style="font-size:13px">seen</td></div>', "seen"),
        ('<div style="visibility:hidden">no<b style="visibility:visible">seen</b></div>', "seen"),
        ('<div style="color:#fff">no<b style="background:black">seen</b><b style="color:red">too</b></div>', "seentoo"),
        ('<body bgcolor="#000000" text="white">seen<font color="black">no</font></body>', "seen"),
        ('<table bgcolor=white><tr><td><font color="#ffffff">no</font>seen</td></tr></table>', "seen"),
        ('<div style="display:none"><b style="display:block;font-size:20px">no</b></div>seen', "seen"),
        ('<div style="font-size:0"><b style="font-size:2em">no</b></div>seen', "seen"),
        ("<p hidden>no<p>seen", "seen"),
    ],
)
def test_children_undo_what_they_can_undo(source: str, shown: str) -> None:
    assert read(source)[0] == shown


@pytest.mark.parametrize(
    "source",
    [
        "<style>.h{display:none}</style>",
        "<style><!-- .h { color:red; display : none } --></style>",
        "<style>p{margin:0}\n.a, div.h ,.b{x:y;display:none!important</style>",
        "<STYLE type='text/css'>@import url(x.css); /* } */ .h{font-size:0}</STYLE>",
        "<style>@font-face{font-family:x}@media print{.z{color:red}} .h{visibility:hidden}</style>",
    ],
)
def test_what_a_rule_of_a_style_sheet_hides_is_left_out_and_noted(source: str) -> None:
    assert read(f'{source}<p>Hello</p><div class="x h">obey</div>') == ("Hello", True)


def test_an_id_can_be_hidden_too_and_a_style_at_the_element_wins() -> None:
    sheet = "<style>#h{display:none}.k{display:none}</style>"

    assert read(f'{sheet}<p id=h>obey</p><p class=k style="display:block">seen</p>') == ("seen", True)


@pytest.mark.parametrize(
    "source",
    [
        "<style>@media (max-width:600px){.h{display:none}}</style>",
        "<style>@media all{.h{display:none}}</style>",
        "<style>.outer .h{display:none}</style>",
        "<style>.x.h{display:none}</style>",
        "<style>.h:first-child{font-size:0}</style>",
        "<!--[if mso]><style>.h{display:none}</style><![endif]-->",
        '<style>.w{color:red}</style><div style="color:#fff">',
    ],
)
def test_what_only_a_browser_could_tell_stays_and_is_noted(source: str) -> None:
    assert read(f'{source}<div class="x h">perhaps</div>') == ("perhaps", True)


@pytest.mark.parametrize("tag", ["title", "template", "script", "style", "datalist", "iframe", "object", "dialog", "noframes"])
def test_what_is_no_text_of_the_page_is_left_out(tag: str) -> None:
    assert read(f"<{tag}>obey</{tag}><p>Hello</p>") == ("Hello", False)


def test_texts_instead_of_pictures_and_comments_are_left_out() -> None:
    assert read('<img alt="obey" title="obey"><p title="obey" aria-label="obey">Hello<!-- obey --><input value="obey"></p>') == (
        "Hello",
        False,
    )


def test_an_empty_preview_line_is_nothing_hidden() -> None:
    assert read('<div style="display:none">&nbsp;&zwnj; \u200c</div><p>Hello</p>') == ("Hello", False)


@given(st.text(alphabet='{}/*;:.#@h"\\<>!-aé0 \n', max_size=80))
def test_styles_of_any_kind_are_read(text: str) -> None:
    declarations(text)
    read_sheets(f"<style>{text}</style>")

    text_of(f'<style>{text}</style><p class="h" style="{text}">Hello', set())


@pytest.mark.parametrize(
    "piece",
    ["{", "}", "/*", "*/", ".h{", "@media{", ".h{display:none}", "<style>", "<style>a</style>", "\\", "a,", ".a.b", "<!--<style></style>"],
)
def test_hostile_sheets_are_read(piece: str) -> None:
    source = piece * (200_000 // len(piece))

    assert text_of(f"<p>Hello</p><style>{source}</style><p>there", set())
    text_of(source, set())


@pytest.mark.parametrize(
    "style",
    [
        "a:b;" * 900,
        "/*" * 1_900,
        "\\6" * 1_900,
        "color:rgb(" * 400,
        "font:" + "1 " * 1_900,
        "transform:" + "scale(" * 600,
        "width:" + "9" * 3_900,
    ],
)
def test_hostile_styles_at_each_of_many_elements_are_read(style: str) -> None:
    assert text_of(f'<b style="{style}">x</b>' * 60, set()) is not None
