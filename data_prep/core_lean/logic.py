"""Target families over propositions and booleans. Each has a trained and a new form.

Propositions are opaque predicates at numbers (`P 3`): nothing can be computed, and rows differ
in more than the names of their variables.
"""

from __future__ import annotations

from data_prep.core_lean.theorem import FUNCTIONS, PREDICATES, Family, Have, Pick, Theorem


def _facts(p: Pick, count: int) -> tuple[str, list[str]]:
    """A binder for `count` predicates, and each of them at a number of its own."""
    names = p.names(PREDICATES, count)
    facts = [f"{name} {n}" for name, n in zip(names, p.numbers(count, 1, 12), strict=True)]
    return f"({' '.join(names)} : Nat → Prop)", facts


def chain(p: Pick) -> Theorem:
    """Two implications in a row."""
    binder, (x, y, z) = _facts(p, 3)
    return Theorem(
        f"{binder} ({p.h(1)} : {x} → {y}) ({p.h(2)} : {y} → {z}) ({p.h(3)} : {x})",
        z,
        (Have(p.h(4), y, f"{p.h(1)} {p.h(3)}"), f"  exact {p.h(2)} {p.h(4)}"),
    )


def chain_of_three(p: Pick) -> Theorem:
    """Three implications in a row."""
    binder, (w, x, y, z) = _facts(p, 4)
    return Theorem(
        f"{binder} ({p.h(1)} : {w} → {x}) ({p.h(2)} : {x} → {y}) ({p.h(3)} : {y} → {z}) "
        f"({p.h(4)} : {w})",
        z,
        (
            Have(p.h(5), x, f"{p.h(1)} {p.h(4)}"),
            Have(p.h(6), y, f"{p.h(2)} {p.h(5)}"),
            f"  exact {p.h(3)} {p.h(6)}",
        ),
    )


def conj(p: Pick) -> Theorem:
    """A conjunction, the other way round."""
    binder, (x, y) = _facts(p, 2)
    return Theorem(
        f"{binder} ({p.h(1)} : {x} ∧ {y})",
        f"{y} ∧ {x}",
        (Have(p.h(2), y, f"{p.h(1)}.right"), f"  exact ⟨{p.h(2)}, {p.h(1)}.left⟩"),
    )


def conj_apply(p: Pick) -> Theorem:
    """A conjunction whose second half feeds an implication."""
    binder, (x, y, z) = _facts(p, 3)
    return Theorem(
        f"{binder} ({p.h(1)} : {x} ∧ {y}) ({p.h(2)} : {y} → {z})",
        z,
        (Have(p.h(3), y, f"{p.h(1)}.right"), f"  exact {p.h(2)} {p.h(3)}"),
    )


def or_resolve(p: Pick) -> Theorem:
    """The left side of a disjunction is false, the right one implies the goal."""
    binder, (x, y, z) = _facts(p, 3)
    return Theorem(
        f"{binder} ({p.h(1)} : {x} ∨ {y}) ({p.h(2)} : ¬ {x}) ({p.h(3)} : {y} → {z})",
        z,
        (
            Have(p.h(4), y, f"{p.h(1)}.resolve_left {p.h(2)}"),
            f"  exact {p.h(3)} {p.h(4)}",
        ),
    )


def or_conj(p: Pick) -> Theorem:
    """A disjunction with one false side, asked for as a conjunction."""
    binder, (x, y) = _facts(p, 2)
    return Theorem(
        f"{binder} ({p.h(1)} : {x} ∨ {y}) ({p.h(2)} : ¬ {x})",
        f"{y} ∧ ¬ {x}",
        (
            Have(p.h(3), y, f"{p.h(1)}.resolve_left {p.h(2)}"),
            f"  exact ⟨{p.h(3)}, {p.h(2)}⟩",
        ),
    )


def iff(p: Pick) -> Theorem:
    """An equivalence, used from left to right."""
    binder, (x, y, z) = _facts(p, 3)
    return Theorem(
        f"{binder} ({p.h(1)} : {x} ↔ {y}) ({p.h(2)} : {y} → {z}) ({p.h(3)} : {x})",
        z,
        (Have(p.h(4), y, f"{p.h(1)}.mp {p.h(3)}"), f"  exact {p.h(2)} {p.h(4)}"),
    )


def iff_twice(p: Pick) -> Theorem:
    """Two equivalences in a row."""
    binder, (x, y, z) = _facts(p, 3)
    return Theorem(
        f"{binder} ({p.h(1)} : {x} ↔ {y}) ({p.h(2)} : {y} ↔ {z}) ({p.h(3)} : {x})",
        z,
        (Have(p.h(4), y, f"{p.h(1)}.mp {p.h(3)}"), f"  exact {p.h(2)}.mp {p.h(4)}"),
    )


def boolean(p: Pick) -> Theorem:
    """A known boolean is the neutral element of `&&` or `||`."""
    (f,), (b,), n = p.names(FUNCTIONS, 1), p.names(("a", "b", "c", "d"), 1), p.number(1, 99)
    value, op, lemma = (("true", "&&", "true_and"), ("false", "||", "false_or"))[p.variant % 2]
    return Theorem(
        f"({f} : Nat → Bool) ({b} : Bool) ({p.h(1)} : {f} {n} = {value})",
        f"({f} {n} {op} {b}) = {b}",
        (
            Have(p.h(2), f"({value} {op} {b}) = {b}", f"Bool.{lemma} {b}"),
            f"  rw [{p.h(1)}, {p.h(2)}]",
        ),
    )


def boolean_known(p: Pick) -> Theorem:
    """Both booleans are known."""
    (f,), (b,), n = p.names(FUNCTIONS, 1), p.names(("a", "b", "c", "d"), 1), p.number(1, 99)
    value, op, lemma = (("true", "&&", "true_and"), ("false", "||", "false_or"))[p.variant % 2]
    other = ("true", "false")[p.variant // 2 % 2]
    return Theorem(
        f"({f} : Nat → Bool) ({b} : Bool) ({p.h(1)} : {f} {n} = {value}) "
        f"({p.h(2)} : {b} = {other})",
        f"({f} {n} {op} {b}) = {other}",
        (
            Have(p.h(3), f"({value} {op} {b}) = {b}", f"Bool.{lemma} {b}"),
            f"  rw [{p.h(1)}, {p.h(3)}, {p.h(2)}]",
        ),
    )


def cases(p: Pick) -> Theorem:
    """A function on booleans: one value is given, the other follows."""
    (f,), (b,), c = p.names(FUNCTIONS, 1), p.names(("a", "b", "c", "d"), 1), p.number(2, 99)
    given, other = (("true", "false"), ("false", "true"))[p.variant % 2]
    ends = {given: p.h(2), other: p.h(3)}
    return Theorem(
        f"({f} : Bool → Nat) ({p.h(1)} : {f} {other} = {f} {given}) "
        f"({p.h(2)} : {f} {given} = {c}) ({b} : Bool)",
        f"{f} {b} = {c}",
        (
            Have(p.h(3), f"{f} {other} = {c}", f"{p.h(1)}.trans {p.h(2)}"),
            f"  cases {b} with",
            f"  | true => exact {ends['true']}",
            f"  | false => exact {ends['false']}",
        ),
    )


def cases_not(p: Pick) -> Theorem:
    """The same under a negation: the two ends change places."""
    (f,), (b,), c = p.names(FUNCTIONS, 1), p.names(("a", "b", "c", "d"), 1), p.number(2, 99)
    given, other = (("true", "false"), ("false", "true"))[p.variant % 2]
    ends = {given: p.h(3), other: p.h(2)}
    return Theorem(
        f"({f} : Bool → Nat) ({p.h(1)} : {f} {other} = {f} {given}) "
        f"({p.h(2)} : {f} {given} = {c}) ({b} : Bool)",
        f"{f} (!{b}) = {c}",
        (
            Have(p.h(3), f"{f} {other} = {c}", f"{p.h(1)}.trans {p.h(2)}"),
            f"  cases {b} with",
            f"  | true => exact {ends['true']}",
            f"  | false => exact {ends['false']}",
        ),
    )


FAMILIES = (
    Family("chain", chain, chain_of_three),
    Family("conj", conj, conj_apply),
    Family("or", or_resolve, or_conj),
    Family("iff", iff, iff_twice),
    Family("bool", boolean, boolean_known),
    Family("cases", cases, cases_not),
)
