"""Target families over numbers and lists. Each has a trained form and a held-out, new form."""

from __future__ import annotations

from data_prep.core_lean.theorem import FUNCTIONS, LISTS, VARIABLES, Family, Have, Pick, Theorem


def mul_comm(p: Pick) -> Theorem:
    """One factor is known: swap the factors, then rewrite."""
    (a, b), c = p.names(VARIABLES, 2), p.number(2, 99)
    known, goal = ((a, f"{b} * {c}"), (b, f"{c} * {a}"))[p.variant % 2]
    return Theorem(
        f"({a} {b} : Nat) ({p.h(1)} : {known} = {c})",
        f"{a} * {b} = {goal}",
        (
            Have(p.h(2), f"{a} * {b} = {b} * {a}", f"Nat.mul_comm {a} {b}"),
            f"  rw [{p.h(2)}, {p.h(1)}]",
        ),
    )


def mul_comm_both(p: Pick) -> Theorem:
    """Both factors are known: one more rewrite."""
    (a, b), (c, d) = p.names(VARIABLES, 2), p.numbers(2, 2, 20)
    return Theorem(
        f"({a} {b} : Nat) ({p.h(1)} : {a} = {c}) ({p.h(2)} : {b} = {d})",
        f"{a} * {b} = {d} * {c}",
        (
            Have(p.h(3), f"{a} * {b} = {b} * {a}", f"Nat.mul_comm {a} {b}"),
            f"  rw [{p.h(3)}, {p.h(1)}, {p.h(2)}]",
        ),
    )


def exists_sum(p: Pick) -> Theorem:
    """A witness has to be computed; the skeleton names it."""
    (x,), witness, k = p.names(VARIABLES, 1), p.number(1, 9), p.number(1, 9)
    left, step = ((f"{x} + {k}", f"{witness} + {k}"), (f"{k} + {x}", f"{k} + {witness}"))[
        p.variant % 2
    ]
    return Theorem(
        "",
        f"∃ {x} : Nat, {left} = {witness + k}",
        (
            Have(p.h(1), f"{step} = {witness + k}", "rfl"),
            f"  exact ⟨{witness}, {p.h(1)}⟩",
        ),
    )


def exists_under_function(p: Pick) -> Theorem:
    """The computed witness stands under an opaque function."""
    (x,), (f,) = p.names(VARIABLES, 1), p.names(FUNCTIONS, 1)
    witness, k, value = p.number(1, 9), p.number(1, 9), p.number(2, 9)
    return Theorem(
        f"({f} : Nat → Nat) ({p.h(1)} : {f} {witness + k} = {value})",
        f"∃ {x} : Nat, {f} ({x} + {k}) = {value}",
        (
            Have(p.h(2), f"{f} ({witness} + {k}) = {value}", p.h(1)),
            f"  exact ⟨{witness}, {p.h(2)}⟩",
        ),
    )


def compose(p: Pick) -> Theorem:
    """Two functions in a row, each known at one point."""
    (f, g), (a, b, c) = p.names(FUNCTIONS, 2), p.numbers(3, 1, 12)
    return Theorem(
        f"({f} {g} : Nat → Nat) ({p.h(1)} : {f} {a} = {b}) ({p.h(2)} : {g} {b} = {c})",
        f"{g} ({f} {a}) = {c}",
        (
            Have(p.h(3), f"{g} ({f} {a}) = {g} {b}", f"congrArg {g} {p.h(1)}"),
            f"  rw [{p.h(3)}, {p.h(2)}]",
        ),
    )


def compose_twice(p: Pick) -> Theorem:
    """One function, applied three times."""
    (f,), (a, b, c, d) = p.names(FUNCTIONS, 1), p.numbers(4, 1, 9)
    return Theorem(
        f"({f} : Nat → Nat) ({p.h(1)} : {f} {a} = {b}) ({p.h(2)} : {f} {b} = {c}) "
        f"({p.h(3)} : {f} {c} = {d})",
        f"{f} ({f} ({f} {a})) = {d}",
        (
            Have(p.h(4), f"{f} ({f} {a}) = {f} {b}", f"congrArg {f} {p.h(1)}"),
            f"  rw [{p.h(4)}, {p.h(2)}, {p.h(3)}]",
        ),
    )


def length(p: Pick) -> Theorem:
    """The length of two lists put together."""
    (s, t), (a, b) = p.names(LISTS, 2), p.numbers(2, 2, 20)
    return Theorem(
        f"({s} {t} : List Nat) ({p.h(1)} : {s}.length = {a}) ({p.h(2)} : {t}.length = {b})",
        f"({s} ++ {t}).length = {a + b}",
        (
            Have(
                p.h(3),
                f"({s} ++ {t}).length = {s}.length + {t}.length",
                "List.length_append",
            ),
            f"  rw [{p.h(3)}, {p.h(1)}, {p.h(2)}]",
        ),
    )


def length_plus(p: Pick) -> Theorem:
    """The length of two lists, inside a sum."""
    (s, t), (a, b, c) = p.names(LISTS, 2), p.numbers(3, 2, 20)
    return Theorem(
        f"({s} {t} : List Nat) ({p.h(1)} : {s}.length = {a}) ({p.h(2)} : {t}.length = {b})",
        f"({s} ++ {t}).length + {c} = {a + b + c}",
        (
            Have(
                p.h(3),
                f"({s} ++ {t}).length = {s}.length + {t}.length",
                "List.length_append",
            ),
            f"  rw [{p.h(3)}, {p.h(1)}, {p.h(2)}]",
        ),
    )


def mod(p: Pick) -> Theorem:
    """The modulus, once added, drops out."""
    (a,), m = p.names(VARIABLES, 1), p.number(3, 20)
    rest = p.number(1, m - 1)
    return Theorem(
        f"({a} : Nat) ({p.h(1)} : {a} % {m} = {rest})",
        f"({a} + {m}) % {m} = {rest}",
        (
            Have(p.h(2), f"({a} + {m}) % {m} = {a} % {m}", f"Nat.add_mod_right {a} {m}"),
            f"  rw [{p.h(2)}, {p.h(1)}]",
        ),
    )


def mod_plus(p: Pick) -> Theorem:
    """The remainder, inside a sum."""
    (a,), m, c = p.names(VARIABLES, 1), p.number(3, 20), p.number(1, 9)
    rest = p.number(1, m - 1)
    return Theorem(
        f"({a} : Nat) ({p.h(1)} : {a} % {m} = {rest})",
        f"({a} + {m}) % {m} + {c} = {rest + c}",
        (
            Have(
                p.h(2),
                f"({a} + {m}) % {m} = {a} % {m}",
                f"Nat.add_mod_right {a} {m}",
            ),
            f"  rw [{p.h(2)}, {p.h(1)}]",
        ),
    )


def dvd(p: Pick) -> Theorem:
    """Divisibility through a middle number, then a multiple."""
    (a, b), (k, c) = p.names(VARIABLES, 2), p.numbers(2, 2, 20)
    goal, close = (
        (f"{b} * {c}", f"Nat.dvd_mul_right_of_dvd {p.h(3)} {c}"),
        (f"{c} * {b}", f"Nat.dvd_mul_left_of_dvd {p.h(3)} {c}"),
    )[p.variant % 2]
    return Theorem(
        f"({a} {b} : Nat) ({p.h(1)} : {k} ∣ {a}) ({p.h(2)} : {a} ∣ {b})",
        f"{k} ∣ {goal}",
        (
            Have(p.h(3), f"{k} ∣ {b}", f"Nat.dvd_trans {p.h(1)} {p.h(2)}"),
            f"  exact {close}",
        ),
    )


def dvd_chain(p: Pick) -> Theorem:
    """A longer chain of divisors."""
    (a, b, c), k = p.names(VARIABLES, 3), p.number(2, 99)
    return Theorem(
        f"({a} {b} {c} : Nat) ({p.h(1)} : {k} ∣ {a}) ({p.h(2)} : {a} ∣ {b}) ({p.h(3)} : {b} ∣ {c})",
        f"{k} ∣ {c}",
        (
            Have(p.h(4), f"{k} ∣ {b}", f"Nat.dvd_trans {p.h(1)} {p.h(2)}"),
            f"  exact Nat.dvd_trans {p.h(4)} {p.h(3)}",
        ),
    )


def le_trans(p: Pick) -> Theorem:
    """An upper bound through a middle number, then the same number added on both sides."""
    (a, b), bound, k = p.names(VARIABLES, 2), p.number(2, 20), p.number(1, 9)
    return Theorem(
        f"({a} {b} : Nat) ({p.h(1)} : {a} ≤ {b}) ({p.h(2)} : {b} ≤ {bound})",
        f"{a} + {k} ≤ {bound + k}",
        (
            Have(p.h(3), f"{a} ≤ {bound}", f"Nat.le_trans {p.h(1)} {p.h(2)}"),
            f"  exact Nat.add_le_add_right {p.h(3)} {k}",
        ),
    )


def le_chain(p: Pick) -> Theorem:
    """A longer chain of inequalities."""
    (a, b, c), bound = p.names(VARIABLES, 3), p.number(2, 99)
    return Theorem(
        f"({a} {b} {c} : Nat) ({p.h(1)} : {a} ≤ {b}) ({p.h(2)} : {b} ≤ {c}) "
        f"({p.h(3)} : {c} ≤ {bound})",
        f"{a} ≤ {bound}",
        (
            Have(p.h(4), f"{b} ≤ {bound}", f"Nat.le_trans {p.h(2)} {p.h(3)}"),
            f"  exact Nat.le_trans {p.h(1)} {p.h(4)}",
        ),
    )


def induction(p: Pick) -> Theorem:
    """A function that never changes from k to k + 1 keeps its first value, known indirectly."""
    (f,), (m,) = p.names(FUNCTIONS, 1), p.names(("m", "n", "x", "y"), 1)
    a, c = p.numbers(2, 1, 20)
    return Theorem(
        f"({f} : Nat → Nat) ({p.h(1)} : {f} 0 = {f} {a}) ({p.h(2)} : {f} {a} = {c}) "
        f"({p.h(3)} : ∀ k, {f} (k + 1) = {f} k) ({m} : Nat)",
        f"{f} {m} = {c}",
        (
            Have(p.h(4), f"{f} 0 = {c}", f"{p.h(1)}.trans {p.h(2)}"),
            f"  induction {m} with",
            f"  | zero => exact {p.h(4)}",
            f"  | succ k i => rw [{p.h(3)}, i]",
        ),
    )


def induction_plus(p: Pick) -> Theorem:
    """The same, inside a sum: the start of the induction changes."""
    (f,), (m,) = p.names(FUNCTIONS, 1), p.names(("m", "n", "x", "y"), 1)
    (a, c), d = p.numbers(2, 1, 9), p.number(1, 9)
    return Theorem(
        f"({f} : Nat → Nat) ({p.h(1)} : {f} 0 = {f} {a}) ({p.h(2)} : {f} {a} = {c}) "
        f"({p.h(3)} : ∀ k, {f} (k + 1) = {f} k) ({m} : Nat)",
        f"{f} {m} + {d} = {c + d}",
        (
            Have(p.h(4), f"{f} 0 = {c}", f"{p.h(1)}.trans {p.h(2)}"),
            f"  induction {m} with",
            f"  | zero => rw [{p.h(4)}]",
            f"  | succ k i => rw [{p.h(3)}, i]",
        ),
    )


FAMILIES = (
    Family("mul_comm", mul_comm, mul_comm_both),
    Family("exists", exists_sum, exists_under_function),
    Family("compose", compose, compose_twice),
    Family("length", length, length_plus),
    Family("mod", mod, mod_plus),
    Family("dvd", dvd, dvd_chain),
    Family("le", le_trans, le_chain),
    Family("induction", induction, induction_plus),
)
