"""HTML to text: where links lead, what is too long, and nothing that takes more time than its length."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman_desk.mail.markup import HTML_MAX, text_of


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<a href='https://shop.example/x'>here</a>.", "here <https://shop.example/x>."),
        ("<a href='https://shop.example/'>https://shop.example</a>", "https://shop.example"),
        ("<a href='https://other.example/'>https://shop.example</a>", "https://shop.example <https://other.example/>"),
        ("<a href='mailto:a@b.example'>a@b.example</a>", "a@b.example"),
        ("<a href='javascript:x()'>here</a> <a name=x>there</a>", "here there"),
        ("<a href='https://shop.example/'><img src=x></a>", ""),
        ("<a href='https://shop.example/" + "x" * 300 + "'>here</a>", "here <https://shop.example/" + "x" * 178 + "…>"),
        ("<a href='https://a.example/'>one<a href='https://b.example/'>two</a>", "onetwo <https://b.example/>"),
    ],
)
def test_a_link_shows_where_it_leads(markup: str, text: str) -> None:
    assert text_of(markup, set()) == text


@pytest.mark.parametrize(
    "attributes",
    [
        "type=cite",
        'class="gmail_quote" style="margin:0 0 0 .8ex"',
        'style="border-left:1px #cccccc solid;margin:0"',
        "style='BORDER-LEFT: #000000 2px solid'",
        'class="x yahoo_quoted"',
        "",
    ],
)
def test_a_block_that_a_mail_program_quoted_is_marked(attributes: str) -> None:
    assert text_of(f"<p>Yes.</p><blockquote {attributes}>Old<br>words<blockquote>older</blockquote></blockquote>New", set()).split("\n") == [
        "Yes.", "", "> Old", "> words", "> > older", ">", "New",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "attributes", ['style="margin:0 0 0 40px;border:none;padding:0px"', 'class="wide"', "style='border-left:0'", "style='padding-left:2em'"]
)
def test_a_block_that_its_writer_indented_is_not_marked(attributes: str) -> None:
    assert text_of(f"<p>Yes.</p><blockquote {attributes}>I want my money back.</blockquote>", set()) == "Yes.\n\nI want my money back.\n"


def test_what_is_too_long_to_look_at_closely_only_loses_its_tags() -> None:
    notes: set[str] = set()
    source = "<p>word</p>" * (HTML_MAX // 11 + 100) + "<style>p{}</style><b>last &amp; <i>least</i></b><!-- no -->"

    text = text_of(source, notes)

    assert text.count("word") == HTML_MAX // 11 + 100
    assert text.split()[-3:] == ["last", "&", "least"]
    assert notes == {"html-long"}


@pytest.mark.parametrize(
    "piece",
    ["<!--", "<a ", "<", "</", "<![x[", "<a b='", "&#1", "<div>", "<blockquote>x", '<p style="', "<a href=http://x>y", "<style>", "<i class='a b'>",
     "<style>a{color:red}</style>", "/*", "<p style='/*", "<script", "</style", "<p style='color:rgba(1,1,1,"],
)  # fmt: skip
def test_no_markup_takes_more_than_its_length(piece: str) -> None:
    source = "seen" + piece * (300_000 // len(piece))

    text = text_of(source, set())

    assert text.startswith("seen")
    assert len(text) < 4_000_000


def test_a_long_rule_of_a_style_sheet_is_not_copied_for_every_element() -> None:
    style = "".join(f"--p{number}:1;" for number in range(20_000))

    text = text_of(f"<style>.a{{{style}}}</style>" + "<i class=a>x" * 5_000, set(), budget=1_000_000)

    assert text == "x" * 5_000


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from("<>!-/ap =\"'&;#x{}:.\n"), max_size=300))
def test_random_markup_is_read_without_a_fault(markup: str) -> None:
    text_of(markup, set())
    text_of(markup, set(), budget=10)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([
    "color:", "#fff", "white", ";", "font-size:", "0", "1.5.2", "px", "rgba(1,2,3,", ".", ")", "background:", "url(x)", "!important", "\\64 ", "opacity:",
    "font:", "/", " ", "rect(0,0,0,0)", "clip:", "margin:", "-", "9999px", "%", "transform:", "scale(0", "#", "rgb(999,0,0)",
]), max_size=12))  # fmt: skip
def test_random_styles_are_read_without_a_fault(pieces: list[str]) -> None:
    text_of(f"<p style='{''.join(pieces)}'>x</p>", set())


REFUND = "And I want a refund."


@pytest.mark.parametrize(
    "markup",
    [
        f"<!--[if !mso]><!--><p>{REFUND}</p><!--<![endif]-->",
        f"<!--[if !mso]><!-- --><p>{REFUND}</p><!--<![endif]-->",
        f"<![if !mso]><p>{REFUND}</p><![endif]>",
        f"<!--><p>{REFUND}</p><!-- x -->",
        f"<!-- x --!><p>{REFUND}</p><!-- y -->",
        f"<!--[if x]--><p>{REFUND}</p>",
    ],
)
def test_what_most_programs_show_between_comments_is_read(markup: str) -> None:
    notes: set[str] = set()

    assert text_of(f"<p>Where is it?</p>{markup}<p>John</p>", notes).split() == f"Where is it? {REFUND} John".split()
    assert notes == set()


@pytest.mark.parametrize("condition", ["mso", "gte mso 9", "(mso)|(IE)", "IE"])
def test_what_some_programs_show_is_read_and_noted(condition: str) -> None:
    notes: set[str] = set()

    shown = text_of(f"<p>Where is it?<!--[if {condition}]></p><p>{REFUND}<![endif]--> John", notes)

    assert shown.split() == f"Where is it? {REFUND} John".split()
    assert notes == {"hidden-text"}


def test_what_outlook_tells_itself_is_no_text() -> None:
    notes: set[str] = set()
    told = "<!--[if gte mso 9]><xml><w:View>Normal</w:View><w:Zoom>0</w:Zoom></xml><style>p {color: red}</style><![endif]-->"

    assert text_of(f"<html><head>{told}<!-- a comment --></head><body>Hello<o:p></o:p></body></html>", notes) == "Hello"
    assert notes == set()


@pytest.mark.parametrize("element", ["<bdo dir=rtl>.dnufer a tnaw I</bdo>", "<iframe srcdoc='I want a refund'></iframe>"])
def test_what_a_reader_sees_otherwise_than_it_is_written_is_noted(element: str) -> None:
    notes: set[str] = set()

    text_of(f"<p>Where is it?</p>{element}", notes)
    assert notes == {"hidden-text"}
