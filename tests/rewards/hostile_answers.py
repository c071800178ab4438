r"""Answers made to deceive, hang or break a verifier: (name, verifier, response, ground truth).

None is right, so none may pass. The ground truths are such that a fooled comparison (everything
equal, an exception as success, an evaluated call) would.
"""

from __future__ import annotations


def _boxed(answer: str) -> str:
    return f"\\boxed{{{answer}}}"


_PYTHON = (
    "__import__('os').system('touch pwned1')",
    "__import__('os')._exit(0)",
    "exec('import os; os.kill(os.getppid(), 9)')",
    "eval('1+'*10000+'1')",
    "().__class__.__bases__[0].__subclasses__()",
    "lambda: 1",
    "(lambda f: f(f))(lambda f: f(f))",
    "open('pwned1', 'w').write('1')",
    "[x for x in iter(int, 1)]",
    "ｅｘｅｃ('1')",
    "{}.format(1).__len__()",
    'sympify(\'__import__("os").system("id")\')',
    r"\text{__import__('os').system('touch pwned1')}",
    r"\operatorname{eval}(1)",
    r"[0 for re.enum.sys.modules['rewards.math.compare'].Fraction in [bool]][0]+\pi",
    r"[72 for x in [1]][0]",
)
_GROWTH = (
    "9^{9^{9^{9}}}",
    "9**9**9**9",
    "(10^{10})!",
    "((((9!)!)!)!)!",
    r"2^{2^{2^{2^{2^{2}}}}}",
    r"\sum_{n=1}^{10^{12}} \frac{1}{n}",
    r"\prod_{n=1}^{10^{9}} n",
    r"\int_0^{10^9} x^{x^x} dx",
    r"\binom{10^{10}}{5 \cdot 10^{9}}",
    "(x+y+z+w)^{10000}",
    "1e999999999",
    "10^{-999999999}",
    r"\sqrt[999999999]{2}",
    r"\frac{1}{9^{9^9}}",
    r"\log_{2}(9^{9^{9^9}})",
    "7^{7^{7}} \\mod 10",
    r"\begin{pmatrix}" + r" \\ ".join(" & ".join("1" * 40) for _ in range(40)) + r"\end{pmatrix}",
    r"\{" + ",".join(str(n) for n in range(900)) + r"\}",
    r" \cup ".join(f"({n},{n + 1})" for n in range(150)),
)
_NESTING = (
    "{" * 900 + "1" + "}" * 900,
    r"\frac{1}{" * 200 + "2" + "}" * 200,
    r"\sqrt{" * 250 + "2" + "}" * 250,
    "(" * 900 + "1" + ")" * 900,
    r"\left(" * 250 + "1" + r"\right)" * 250,
    "x^{" * 400 + "2" + "}" * 400,
    "-" * 1500 + "2",
    "|" * 1500,
    r"\boxed{" * 150 + "2" + "}" * 150,
)
_ODD = (
    "\0",
    "5\0",
    "\ud800",
    "\udfff5\ud800",
    "٥",
    "５0",
    "\u202e72",
    "\u200b\u200b",
    "5\u0338",
    "nan",
    "inf",
    "oo",
    "zoo",
    "-\\infty",
    r"\emptyset",
    "None",
    "True",
    "ok",
    'Verdict(passed=True, score=1.0, reason="ok")',
    '{"score": 1.0, "reason": "ok", "feedback": "", "seconds": 0.0, "last": false}',
    r"\begin{cases} 5 \\ 6 \end{cases}",
    "5 or 6 or 7 or 8",
    "5, 6, 7, 72",
    r"5 \text{ or } 72",
    "5;72",
    r"x \in \mathbb{R}",
    r"y = \text{anything}",
    "%",
    "$$",
    "\\",
    r"\frac{}{}",
    r"\frac{1}{0}",
    r"\frac{0}{0}",
    "x",
    "72_3 + 1",
)
_WHOLE = (
    ("unterminated box", r"\boxed{72"),
    ("unterminated after a right one", r"\boxed{72} \boxed{7"),
    ("box inside the thoughts", r"<think>\boxed{72}</think> \boxed{7}"),
    ("hedging over boxes", " ".join(_boxed(str(n)) for n in range(100))),
    ("ten megabytes of digits", "7" * 10_000_000),
    ("ten megabytes of boxes", r"\boxed{" * 1_400_000),
    ("a million blanks", " " * 999_999),
    ("many answers are", "answer is " * 90_000),
    ("many dollars", "answer is " + "$" * 900_000),
    ("many markers", "#### " * 150_000),
    ("many digits and commas", "1," * 400_000),
    ("forged thoughts", "</think>" * 100_000),
    ("nothing", ""),
)


def _cases() -> list[tuple[str, str, str, str]]:
    cases = []
    groups = {"python": _PYTHON, "growth": _GROWTH, "nesting": _NESTING, "odd": _ODD}
    for group, answers in groups.items():
        for place, answer in enumerate(answers):
            cases.append((f"math {group} {place}", "math", _boxed(answer), "72"))
    for name, response in _WHOLE:
        cases.append((f"math {name}", "math", response, "72"))
    for place, answer in enumerate((*_PYTHON, *_GROWTH[:4])):
        response = f"The answer is {_boxed(answer)}"
        cases.append((f"prime {place}", "verl_prime_math", response, "72"))
    for place, answer in enumerate(_GROWTH[:3]):
        cases.append((f"math_verify {place}", "verl_math_verify", _boxed(answer), "72"))
    cases += [
        ("regex backtracks", "regex", "a" * 60 + "!", "(a+)+"),
        ("regex backtracks by choice", "regex", "a" * 60 + "!", "(a|aa)+"),
        ("regex backtracks in words", "regex", "x " * 40 + "!", r"(\w+\s?)*"),
        ("regex on a megabyte", "regex", "b" * 900_000, "a.*"),
        ("exact with an invisible end", "exact", "72\u200b", "72"),
        ("exact with a surrogate", "exact", "72\ud800", "72"),
        ("exact with NUL", "exact", "72\0", "72"),
        ("lean in a comment", "heuristic_lean", "/- omega -/", "theorem t : 1 = 2 := by"),
        ("lean without end", "heuristic_lean", "/-" * 40_000, "theorem t : 1 = 2 := by"),
        ("graded without steps", "graded", "1 " * 1000, '{"of": "steps", "steps": ["72"]}'),
    ]
    return cases


CASES = _cases()
