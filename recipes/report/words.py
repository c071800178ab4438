"""The report's sentences. Figures come in as the dictionaries of report.json."""

from __future__ import annotations

from typing import Any

MINUS = "−"
NO_DIFFERENCE = "no difference is shown"
Json = dict[str, Any]


def percent(fraction: float | None) -> str:
    """42.7 %, or a dash."""
    return "–" if fraction is None else f"{100 * fraction:.1f} %"


def percent_range(interval: list[float] | None) -> str:
    """[35.9, 49.8] from fractions."""
    return "" if interval is None else f"[{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def signed(points: float | None) -> str:
    """+37.3 or −4.0, in points; a dash for null."""
    if points is None:
        return "–"
    rounded = round(points, 1) or 0.0  # no negative zero
    return f"{MINUS if rounded < 0 else '+'}{abs(rounded):.1f}"


def signed_range(interval: list[float] | None) -> str:
    """[+30.7, +44.0] from points."""
    return "" if interval is None else f"[{signed(interval[0])}, {signed(interval[1])}]"


def duration(seconds: float | None) -> str:
    """48 s, 3 min 20 s, 2 h 05 min."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    total = round(seconds)
    if total < 120:
        return f"{total} s"
    if total < 7200:
        return f"{total // 60} min {total % 60:02d} s"
    return f"{total // 3600} h {total % 3600 // 60:02d} min"


def listed(names: list[str]) -> str:
    """`a, b and c`."""
    if len(names) < 2:
        return "".join(names)
    return ", ".join(names[:-1]) + " and " + names[-1]


def verdict(report: Json) -> list[str]:
    """The sentences at the top: the result, the families, the new structure, what went wrong."""
    lines = []
    best = next((a for a in report["arms"] if a["name"] == report["best_arm"]), None)
    baseline = report["baseline"]
    if baseline["pass_rate"] is None:
        lines.append("There is no baseline evaluation, so no difference can be given.")
    if report["competence"] is not None and not report["arms"]:
        told = report["competence"]["recommendation"]
        lines += [told["position"], f"{told['certainty']} Mode: {told['mode']}."]
    elif best is None:
        lines.append("No arm has a result that may be compared.")
    else:
        lines.append(_result(best, baseline, bool(report["warmup"]["enabled"])))
        lines += _better_control(best, report["arms"])
        lines += _families(best, report["health"])
        lines += _new_structure(best)
    for arm in report["arms"]:
        if arm["collapse"]:
            where = f"{arm['name']} collapsed at step {arm['collapse']['step']}"
            lines.append(f"{where}: {arm['collapse']['message']} It is not counted as a result.")
        elif arm["status"] == "suspect":
            lines.append(f"{arm['name']} is not counted: {arm['notes'][-1]}.")
    return lines


def _result(best: Json, baseline: Json, warmed: bool) -> str:
    rate = f"{percent(best['pass_rate'])} {percent_range(best['ci95'])}"
    if best["role"] == "method":
        head = (
            f"The best method arm, {best['name']}, passes {rate} of {best['n']} held-out problems"
        )
    else:
        head = (
            f"No method arm has a result; the best of the others, {best['name']} ({best['role']}), "
            f"passes {rate} of {best['n']} held-out problems"
        )
    if best["delta_pp"] is None:
        return head + "."
    start = "the warmed-up baseline" if warmed else "the baseline"
    claim = _claim(best["delta_ci95"])
    if claim != NO_DIFFERENCE and best["holds"] is False:
        claim += " for these seeds that an interval over seeds does not confirm"
    claim += " (one seed)" if best["holds"] is None else ""
    return (
        f"{head}, against {percent(baseline['pass_rate'])} for {start}: "
        f"{signed(best['delta_pp'])} points {signed_range(best['delta_ci95'])}, {claim}."
    )


def _better_control(best: Json, arms: list[Json]) -> list[str]:
    """A control that passes more than the best method arm belongs beside it."""
    controls = [a for a in arms if a["role"] == "control" and a["pass_rate"] is not None]
    ahead = max(controls, key=lambda a: a["pass_rate"], default=None)
    if best["role"] != "method" or ahead is None or ahead["pass_rate"] < best["pass_rate"]:
        return []
    rate = f"{percent(ahead['pass_rate'])} {percent_range(ahead['ci95'])}"
    return [f"The control {ahead['name']} passes {rate}: the method is not ahead of it."]


def _claim(interval: list[float]) -> str:
    low, high = interval
    return "a gain" if low > 0 else "a loss" if high < 0 else NO_DIFFERENCE


def _families(best: Json, health: list[Json]) -> list[str]:
    entry = next((h for h in health if h["name"] == best["name"]), None)
    if entry is None or entry["families"]["most_rise"] is None:
        return []
    counts = entry["families"]
    total = len(counts["rose"]) + len(counts["fell"]) + len(counts["same"])
    text = f"{len(counts['rose'])} of {total} families rose"
    text += f", {len(counts['fell'])} fell"
    if counts["fell"]:
        text += f" ({listed(counts['fell'])})"
    return [text + ("." if counts["most_rise"] else ": most did not rise.")]


def _new_structure(best: Json) -> list[str]:
    new = best["structure"].get("new")
    if not new or new["delta_pp"] is None:
        return []
    claim = _claim(new["delta_ci95"])
    return [
        f"On the {new['n']} problems whose structure no training row has: "
        f"{signed(new['delta_pp'])} points {signed_range(new['delta_ci95'])}, {claim}."
    ]


def contribution(controls: Json | None) -> str:
    """What the skeleton itself contributed."""
    if controls is None:
        return "No control with PI none, gibberish or another row's PI is in this run."
    if controls["arm"] is None:
        return "The PI arm has no result to set against its controls."
    extra = ""
    if controls["collapsed"]:
        extra = f" Collapsed, and so without a figure: {listed(controls['collapsed'])}."
    if controls["absent"]:
        extra += f" Not evaluated: {listed(controls['absent'])}."
    if not controls["rows"]:
        return "No control has a result to set the PI arm against." + extra
    best = controls["rows"][0]
    low, high = best["delta_ci95"]
    claim = (
        "so it is the PI's content that makes the difference"
        if low > 0
        else "so the PI's content did harm"
        if high < 0
        else "so no contribution of the PI's content is shown"
    )
    return (
        f"The {controls['pi'] or 'PI'} itself contributed {signed(best['delta_pp'])} points "
        f"{signed_range(best['delta_ci95'])}: {controls['arm']} against its best control, "
        f"{best['name']} ({percent(best['control_pass_rate'])}), {_at(best['step'])}; "
        f"{claim}.{extra}"
    )


def _at(step: int | None) -> str:
    return f"at step {step} of both" if step else "at different step counts"


def against_sft(sft: Json | None) -> str:
    """Where OPSD does better than SFT on gold proofs, or that it does not."""
    if sft is None:
        return "SFT on gold proofs is not part of this run, so OPSD is not compared with it."
    if not sft["rows"]:
        why = "collapsed" if sft["sft_status"] == "collapsed" else "has no result"
        if sft["arm"] is None:
            return "No method arm has a result to compare with SFT on gold proofs."
        return f"SFT on gold proofs ({sft['sft']}) {why}, so OPSD is not compared with it."
    better = [r for r in sft["rows"] if r["delta_ci95"][0] > 0]
    worse = [r for r in sft["rows"] if r["delta_ci95"][1] < 0]
    where = f"{sft['arm']} against SFT on gold proofs ({sft['sft']}), {_at(sft['step'])}: "
    parts = []
    if better:
        parts.append("better on " + listed([_scope(r) for r in better]))
    if worse:
        parts.append("worse on " + listed([_scope(r) for r in worse]))
    if not better:
        overall = sft["rows"][0]
        parts.append("on none of these groups of rows is it ahead by more than the interval")
        if overall not in worse:
            parts.append(f"over all rows {_scope(overall, named=False)}")
    families = [f["family"] for f in sft["families"] if f["delta_ci95"][0] > 0]
    if families:
        parts.append(f"families where it is ahead: {listed(families)}")
    text = where + "; ".join(parts) + "."
    if not any(r["scope"] == "without gold proofs" for r in sft["rows"]):
        text += " No held-out row is marked as lacking gold proofs, so that case is not measured."
    return text


def _scope(row: Json, named: bool = True) -> str:
    figure = f"{signed(row['delta_pp'])} points {signed_range(row['delta_ci95'])}"
    return f"{row['scope']} ({figure}, n = {row['delta_n']})" if named else figure


def comparison(row: Json) -> str:
    """One contrast of two arms, and whether it holds up over seeds."""
    seeds = f"{row['seeds']} seeds" if row["seeds"] > 1 else "one seed"
    if row["holds"] is None:
        claim = "one seed cannot separate them"
    else:
        claim = "holds up over seeds" if row["holds"] else "does not hold up over seeds"
    over = row["delta_seed_ci95"]
    t_interval = f", over seeds {signed_range(over)}" if over else ""
    return (
        f"{row['a']} − {row['b']} ({row['differs']}): {signed(row['delta_pp'])} points "
        f"{signed_range(row['delta_ci95'])}{t_interval}, {seeds}: {claim}."
    )


def claim(row: Json) -> str:
    """What a difference between two arms says, in a few words."""
    if row["absent"]:
        return f"no result of {listed(row['absent'])}"
    if row["delta_pp"] is None:
        return "no problem in common"
    if row["holds"] is None:
        return "one seed cannot separate them"
    side = "ahead" if row["delta_pp"] > 0 else "behind"
    return f"{side}, holds up over seeds" if row["holds"] else "not separated over seeds"


def contrast(row: Json) -> str:
    """One planned difference as a sentence."""
    head = f"{row['shows']}: {row['a']} − {row['b']}"
    if row["delta_pp"] is None:
        return f"{head}: {claim(row)}."
    seeds = f"{row['seeds']} seeds" if row["seeds"] > 1 else "one seed"
    over = row["delta_seed_ci95"]
    t_interval = f", over seeds {signed_range(over)}" if over else ""
    return (
        f"{head}: {signed(row['delta_pp'])} points {signed_range(row['delta_ci95'])}{t_interval}, "
        f"{seeds}: {claim(row)}."
    )


def warmup(report: Json) -> str:
    """The warm-up by name, or that there was none."""
    plan = report["warmup"]
    if plan["enabled"] is None:
        return "plan.json says nothing about a warm-up."
    if not plan["enabled"]:
        return "No warm-up: all arms start from the model as given."
    steps, rows = (
        "an unknown number of" if plan[k] is None else plan[k] for k in ("steps", "rows")
    )
    text = (
        f"Before all arms the model went through a warm-up: {steps} steps of SFT on {rows} "
        "rows that are in neither the training nor the held-out set. The baseline is the model "
        "after it."
    )
    return f"{text} Why: {plan['why']}" if plan["why"] else text
