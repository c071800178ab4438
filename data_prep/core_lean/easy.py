"""Easy families of the warm-up: they teach the format, and share no form with the targets."""

from __future__ import annotations

from data_prep.core_lean.theorem import (
    FUNCTIONS,
    PREDICATES,
    VARIABLES,
    Family,
    Have,
    Pick,
    Theorem,
)


def add_zero(p: Pick) -> Theorem:
    (a,), c = p.names(VARIABLES, 1), p.number(2, 99)
    return Theorem(
        f"({a} : Nat) ({p.h(1)} : {a} = {c})",
        f"{a} + 0 = {c}",
        (Have(p.h(2), f"{a} + 0 = {a}", f"Nat.add_zero {a}"), f"  rw [{p.h(2)}, {p.h(1)}]"),
    )


def mul_one(p: Pick) -> Theorem:
    (a,), c = p.names(VARIABLES, 1), p.number(2, 99)
    return Theorem(
        f"({a} : Nat) ({p.h(1)} : {a} = {c})",
        f"{a} * 1 = {c}",
        (Have(p.h(2), f"{a} * 1 = {a}", f"Nat.mul_one {a}"), f"  rw [{p.h(2)}, {p.h(1)}]"),
    )


def symmetry(p: Pick) -> Theorem:
    (f,), (a, b) = p.names(FUNCTIONS, 1), p.numbers(2, 1, 20)
    return Theorem(
        f"({f} : Nat → Nat) ({p.h(1)} : {b} = {f} {a})",
        f"{f} {a} = {b}",
        (Have(p.h(2), f"{f} {a} = {b}", f"{p.h(1)}.symm"), f"  exact {p.h(2)}"),
    )


def for_all(p: Pick) -> Theorem:
    (q,), n = p.names(PREDICATES, 1), p.number(1, 99)
    return Theorem(
        f"({q} : Nat → Prop) ({p.h(1)} : ∀ k, {q} k)",
        f"{q} {n}",
        (Have(p.h(2), f"{q} {n}", f"{p.h(1)} {n}"), f"  exact {p.h(2)}"),
    )


def equal_le(p: Pick) -> Theorem:
    (a,), c = p.names(VARIABLES, 1), p.number(2, 99)
    return Theorem(
        f"({a} : Nat) ({p.h(1)} : {a} = {c})",
        f"{a} ≤ {c}",
        (Have(p.h(2), f"{a} ≤ {c}", f"Nat.le_of_eq {p.h(1)}"), f"  exact {p.h(2)}"),
    )


def transitivity(p: Pick) -> Theorem:
    (f,), (a, b, c) = p.names(FUNCTIONS, 1), p.numbers(3, 1, 12)
    return Theorem(
        f"({f} : Nat → Nat) ({p.h(1)} : {f} {a} = {f} {b}) ({p.h(2)} : {f} {b} = {c})",
        f"{f} {a} = {c}",
        (Have(p.h(3), f"{f} {a} = {c}", f"{p.h(1)}.trans {p.h(2)}"), f"  exact {p.h(3)}"),
    )


def sub_self(p: Pick) -> Theorem:
    (a,), c = p.names(VARIABLES, 1), p.number(2, 99)
    return Theorem(
        f"({a} : Nat)",
        f"{a} - {a} + {c} = {c}",
        (Have(p.h(1), f"{a} - {a} = 0", f"Nat.sub_self {a}"), f"  rw [{p.h(1)}, Nat.zero_add]"),
    )


FAMILIES = (
    Family("add_zero", add_zero),
    Family("mul_one", mul_one),
    Family("symmetry", symmetry),
    Family("for_all", for_all),
    Family("equal_le", equal_le),
    Family("transitivity", transitivity),
    Family("sub_self", sub_self),
)
