"""The kernel itself. Importing this needs Triton."""

# Triton's language has types of its own.
# pyright: reportOperatorIssue=false

import triton
import triton.language as tl


@triton.jit
def divergence(
    student, teacher, ids, values,
    student_stride, teacher_stride, count, vocab,
    scale, w, log_w, log_1w,
    KIND: tl.constexpr, GRAD: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    z_row, t_row = student + row * student_stride, teacher + row * teacher_stride
    columns = tl.arange(0, BLOCK)
    lowest = -float("inf")
    # Running maxima, and sums relative to them: of e^z, e^z (z - t), e^z z and the teacher's.
    z_most, z_sum, z_cross, z_self = lowest, 0.0, 0.0, 0.0
    t_most, t_sum, t_cross = lowest, 0.0, 0.0
    for start in range(0, vocab, BLOCK):
        inside = start + columns < vocab
        z = tl.load(z_row + start + columns, mask=inside, other=lowest).to(tl.float32) * scale
        t = tl.load(t_row + start + columns, mask=inside, other=lowest).to(tl.float32) * scale
        apart = tl.where(inside, z - t, 0.0)
        most = tl.maximum(z_most, tl.max(z, 0))
        shrink, e = tl.exp(z_most - most), tl.exp(z - most)
        z_sum = z_sum * shrink + tl.sum(e, 0)
        z_cross = z_cross * shrink + tl.sum(e * apart, 0)
        z_self = z_self * shrink + tl.sum(e * tl.where(inside, z, 0.0), 0)
        z_most = most
        most = tl.maximum(t_most, tl.max(t, 0))
        shrink, e = tl.exp(t_most - most), tl.exp(t - most)
        t_sum = t_sum * shrink + tl.sum(e, 0)
        t_cross = t_cross * shrink - tl.sum(e * apart, 0)
        t_most = most
    z_log, t_log = z_most + tl.log(z_sum), t_most + tl.log(t_sum)
    kl_student = z_cross / z_sum - z_log + t_log
    kl_teacher = t_cross / t_sum - t_log + z_log
    chosen = tl.load(z_row + tl.load(ids + row)).to(tl.float32) * scale
    tl.store(values + count + row, chosen - z_log)
    tl.store(values + 2 * count + row, z_log - z_self / z_sum)
    tl.store(values + 3 * count + row, kl_student)
    tl.store(values + 4 * count + row, kl_teacher)

    kl_mean = 0.0  # KL(p||m) of jsd
    if KIND == 0:
        tl.store(values + row, kl_student)
    elif KIND == 1:
        tl.store(values + row, kl_teacher)
    else:
        other = 0.0  # KL(q||m)
        for start in range(0, vocab, BLOCK):
            inside = start + columns < vocab
            z = tl.load(z_row + start + columns, mask=inside, other=0.0).to(tl.float32) * scale
            t = tl.load(t_row + start + columns, mask=inside, other=0.0).to(tl.float32) * scale
            x = (t - t_log) - (z - z_log) + log_w - log_1w
            soft = tl.maximum(x, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(x)))
            p = tl.where(inside, tl.exp(z - z_log), 0.0)
            q = tl.where(inside, tl.exp(t - t_log), 0.0)
            kl_mean += tl.sum(p * (-log_1w - soft), 0)
            other += tl.sum(q * (x - log_w - soft), 0)
        tl.store(values + row, w * other + (1.0 - w) * kl_mean)
    if GRAD:
        for start in range(0, vocab, BLOCK):
            inside = start + columns < vocab
            z = tl.load(z_row + start + columns, mask=inside, other=0.0).to(tl.float32) * scale
            t = tl.load(t_row + start + columns, mask=inside, other=0.0).to(tl.float32) * scale
            p = tl.exp(z - z_log)
            apart = (z - z_log) - (t - t_log)
            if KIND == 0:
                grad = p * (apart - kl_student)
            elif KIND == 1:
                grad = p - tl.exp(t - t_log)
            else:
                x = log_w - log_1w - apart
                soft = tl.maximum(x, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(x)))
                grad = (1.0 - w) * p * (-log_1w - soft - kl_mean)
            place = student + row * student_stride + start + columns
            tl.store(place, grad.to(student.dtype.element_ty), mask=inside)
