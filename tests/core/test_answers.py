"""Two short answers that say the same, and two that do not."""

from __future__ import annotations

import time

import pytest

from rar_lib.core.answers import same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("-7", "\u22127"),
        ("-7", "- 7"),
        ("-7", r"-7."),
        ("3.5", "3.50"),
        ("1,000", "1000"),
        ("0.5", "1/2"),
        (r"\frac{1}{2}", "0.5"),
        (r"\dfrac{-1}{2}", "-0.5"),
        ("10^-6", r"10^{-6}"),
        ("10\u207b\u2076", "10^-6"),
        ("1e-6", "10^-6"),
        ("2.5 \u00d7 10^3", "2500"),
        ("50%", "0.5"),
        ("Vitamin C", "vitamin c."),
        ("**Ice**", "ice"),
        ('"Newton\'s third law"', "newton's third law"),
        ("well-known", "well known"),
        ("x \u2264 5", "x <= 5"),
        (r"x \leq 5", "x \u2264 5"),
        (r"5\,\mathrm{mg}", "5 mg"),
        ("5.0 mg", "5 mg"),
        ("H2O", "h2o"),
        ("$n+2$", "n + 2"),
        ("\u00bd", "0.5"),
        ("-\u00bd", "-1/2"),
        ("2\u00bd", "5/2"),
        ("2 1/2", "2.5"),
        (r"2\frac{1}{2}", "5/2"),
        (r"\frac12", "1/2"),
        ("1\u2009000", "1000"),
        ("1\u00a0000\u00a0000", "1,000,000"),
        ("1'000", "1000"),
        ("50 percent", "50%"),
        ("1.5 x 10^3", "1500"),
        ("0.00001", "1e-5"),
        ("2**3", "2^3"),
        ("\u221a2", r"\sqrt{2}"),
        ("\u221a2", "sqrt(2)"),
        (r"2\pi", "2\u03c0"),
        (r"\infty", "\u221e"),
        (r"A \cup B", "A\u222aB"),
        (r"x \neq 2", "x \u2260 2"),
        (r"90^\circ", "90\u00b0"),
        ("x_1", "x\u2081"),
        (r"\boxed{5}", "5"),
        ("[0, 1)", "[0,1)"),
        ("(1, 2)", "1, 2"),
        (r"\frac{x+1}{2}", "(x+1)/2"),
        ("e^{-x}", "e^-x"),
        ("((3))", "3"),
        ("-(3)", "-3"),
        ("Paris!", "Paris"),
        (r"5~\mathrm{kg}", "5 kg"),
        ("heat (energy)", "heat energy"),
        ("5 MG", "5 mg"),
        ("5 L", "5 l"),
        ("3 MW", "3MW"),
        ("$5$", "5"),
        ("\u20ac5", "5 \u20ac"),
        ("Cu(OH)2", r"Cu(OH)_{2}"),
        ("Cu(OH)\u2082", "Cu(OH)2"),
    ],
)
def test_two_answers_say_the_same(one: str, other: str) -> None:
    assert same(one, other)
    assert same(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("-7", "7"),
        ("3.5", "3:5"),
        ("3.5", "35"),
        ("3/4", "3.4"),
        ("3/4", "34"),
        ("n + 2", "n - 2"),
        ("10^-6", "10^6"),
        ("10\u207b\u2076", "106"),
        ("1e-6", "1e6"),
        ("< 5", "> 5"),
        ("<= 5", "< 5"),
        ("2.5 mg", "2/5 mg"),
        ("2.5 mg", "2.5 g"),
        ("1,5", "15"),
        ("5%", "5"),
        ("+-3", "3"),
        ("x = 5", "x = -5"),
        ("1/0", "0"),
        ("vitamin C", "vitamin D"),
        ("", ""),
        ("...", "!"),
        ("not ice", "ice"),
        ("\u00bd", "12"),
        ("1 2", "12"),
        ("2 1/2", "21/2"),
        ("2, 1/2", "2.5"),
        ("2 3/2", "3.5"),  # no mixed number
        ("0.12345678901234567890", "0.12345678901234567891"),
        ("\u221a2", "2"),
        ("3!", "3"),
        ("(x+1)/2", "x+1/2"),
        (r"\frac{x+1}{2}", "x+1/2"),
        ("x^{n+1}", "x^n+1"),
        ("1/(2x)", "1/2x"),
        ("(2x)^2", "2x^2"),
        ("a-(b+c)", "a-b+c"),
        ("(-3)^2", "-3^2"),
        ("(a+b)c", "a+bc"),
        ("p\u2227q", "p\u2228q"),
        ("\u00acp", "p"),
        ("A\u222aB", "A\u2229B"),
        ("x\u2208A", "x\u2209A"),
        ("A\u2192B", "A\u2190B"),
        ("A\u21d2B", "A\u21d0B"),
        ("x \u2260 2", "x = 2"),
        ("[0,1)", "(0,1]"),
        ("[0,1]", "(0,1)"),
        ("|x|", "x"),
        ("~5", "5"),
        ("\u2207f", "f"),
        ("f\u2032", "f"),
        ("\u00b13", "3"),
        ("\u2248", "="),
        ("5 m", "5 M"),
        ("3 mW", "3 MW"),
        ("2 mHz", "2 MHz"),
        ("\u20ac5", "\u00a35"),
        ("\u20ac5", "5"),
        ("Cu(OH)2", "CuOH2"),
        ("Ca(OH)2", "Ca(OH)3"),
    ],
)
def test_two_answers_differ(one: str, other: str) -> None:
    assert not same(one, other)
    assert not same(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        # Ions, as chemists, LaTeX and keyboards write them.
        ("Ca\u00b2\u207a", "Ca2+"),
        ("Ca^{2+}", "Ca\u00b2\u207a"),
        (r"\ce{Na+}", "Na\u207a"),
        ("OH-", "OH\u207b"),
        # A number with a unit is a number.
        ("5e-3 mol", "0.005 mol"),
        ("\u00bd cup", "0.5 cup"),
        ("2 1/2 cups", "2.5 cups"),
        ("1.0 x 10^-3 M", "0.001 M"),
        (r"\SI{5}{mg}", "5 mg"),
        ("5\u2030", "0.005"),
        # LaTeX beside plain text.
        (r"\frac{\sqrt{3}}{2}", "\u221a3/2"),
        (r"\displaystyle \frac12", "1/2"),
        (r"x \geqslant 5", "x \u2265 5"),
        (r"x\leq5", "x <= 5"),
        (r"x \lt 5", "x < 5"),
        (r"\varnothing", "\u2205"),
        (r"A \Rightarrow B", "A \u21d2 B"),
        ("A -> B", r"A \to B"),
        (r"\Delta x", "\u0394x"),
        ("\u03b1", "alpha"),
        ("\u03b2-blocker", "beta-blocker"),
        ("2*x", "2x"),
        (r"2\cdot x", "2x"),
        # Exports of web pages.
        ("H<sub>2</sub>O", "H2O"),
        ("10<sup>-6</sup>", "10^-6"),
        ("&lt; 5", "< 5"),
        ("<b>5</b>", "5"),
        # Words.
        ("The mitochondria.", "mitochondria"),
        ("an enzyme", "enzyme"),
        ("three", "3"),
        ("minus 5", "-5"),
        ("A & B", "A and B"),
        ("U.S.A.", "USA"),
        ("IL-6", "IL 6"),
        ("COVID-19", "covid 19"),
        ("5 to 10", "5\u201310"),
        ("1.000.000", "1,000,000"),
        ("'x = 5'", "x = 5"),
    ],
)
def test_two_spellings_of_one_answer_are_equal(one: str, other: str) -> None:
    assert same(one, other)
    assert same(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        # Vowels that are marks of their own: Hindi, Thai.
        ("\u0915\u0940", "\u0915\u093e"),
        ("\u0e02\u0e49\u0e32\u0e27", "\u0e02\u0e32\u0e27"),
        ("x\u0304", "x"),
        # Marks behind a letter or a number.
        ("f'(x)", "f(x)"),
        ("x'", "x"),
        ("5' to 3'", "5 to 3"),
        ("5'", "5''"),
        ('5"', "5'"),
        ("n!", "n"),
        ("C#", "C"),
        ("B\u266d", "B"),
        ("F\u266f", "F\u266d"),
        # Brackets of another kind, and ends of intervals.
        ("\u230ax\u230b", "\u2308x\u2309"),
        ("\u2016x\u2016", "x"),
        ("\u27e8x\u27e9", "x"),
        ("]1, 2[", "[1, 2]"),
        ("{1, 2}", "(1, 2)"),
        # Units that differ in the size of a letter.
        ("5 mM", "5 mm"),
        ("5 nM", "5 nm"),
        ("5 Mb", "5 MB"),
        # Per mille, per cent, nothing.
        ("5\u2030", "5"),
        ("5\u2030", "5%"),
        # Still apart after all that is forgiven above.
        ("n-2", "n 2"),
        ("IL-6", "IL-8"),
        ("Ca2+", "Ca"),
        ("Fe^{2+}", "Fe^{3+}"),
        ("x^2", "x2"),
        ("0.5 cup", "0.5 mg"),
        ("1/2 cup", "2 cup"),
        ("vitamin A", "vitamin"),
        ("one", "ten"),
        ("2->3", "2<-3"),
        ("\u03b1", "\u03b2"),
        ("2 * 3", "23"),
        ("1.234", "1234"),
    ],
)
def test_what_decides_is_not_taken_for_a_spelling(one: str, other: str) -> None:
    assert not same(one, other)
    assert not same(other, one)


@pytest.mark.parametrize(
    "text", [r"\frac{" * 650, "{" * 3_999, "'" * 3_999, "1." * 1_999, "(x" * 100_000]
)
def test_an_answer_of_any_length_is_compared_at_once(text: str) -> None:
    start = time.perf_counter()
    same(text, text + "x")
    assert time.perf_counter() - start < 2.0
