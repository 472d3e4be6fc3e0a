// What single instructions of PTX compute, one lane at a time. Registers are 64 bits, of which an instruction's type uses some.
#pragma once
#include <algorithm>

#include "ptx.h"

namespace ptx {
inline u64 as_unsigned(u64 x, Type t) { return x & t.mask(); }
inline s64 as_signed(u64 x, Type t) { return t.bits == 64 ? (s64)x : (s64)(x << (64 - t.bits)) >> (64 - t.bits); }
inline double as_double(u64 x) {
    double d;
    return memcpy(&d, &x, 8), d;
}
inline u64 double_bits(double d) {
    u64 x;
    return memcpy(&x, &d, 8), x;
}

inline float ftz(float x) { return std::fabs(x) < 1.17549435e-38f ? std::copysign(0.0f, x) : x; }

// Arithmetic of one lane.
inline u64 compute(const Instruction& in, u64 a, u64 b, u64 c) {
    const Type t = in.type;
    if (t.kind == 'f' && t.bits == 32) {
        const float x = bits_float((u32)a), y = bits_float((u32)b), z = bits_float((u32)c);
        switch (in.op) {
            case Op::Add: return float_bits(x + y);
            case Op::Sub: return float_bits(x - y);
            case Op::Mul: return float_bits(x * y);
            case Op::Fma: return float_bits(std::fma(x, y, z));
            case Op::Div: return float_bits(x / y);
            case Op::Min: return float_bits(std::isnan(x) ? y : std::isnan(y) ? x : std::min(x, y));
            case Op::Max: return float_bits(std::isnan(x) ? y : std::isnan(y) ? x : std::max(x, y));
            case Op::Neg: return float_bits(-x);
            case Op::Rcp: return float_bits(1.0f / x);
            case Op::Sqrt: return float_bits(std::sqrt(x));
            case Op::Rsqrt: return float_bits(1.0f / std::sqrt(x));
            case Op::Ex2: return float_bits(ftz(std::exp2(ftz(x))));
            default: fail("an operation of f32 that is not executed");
        }
    }
    if (t.kind == 'f') {
        const double x = as_double(a), y = as_double(b), z = as_double(c);
        switch (in.op) {
            case Op::Add: return double_bits(x + y);
            case Op::Sub: return double_bits(x - y);
            case Op::Mul: return double_bits(x * y);
            case Op::Fma: return double_bits(std::fma(x, y, z));
            case Op::Neg: return double_bits(-x);
            case Op::Div: return double_bits(x / y);
            default: fail("an operation of f64 that is not executed");
        }
    }
    const bool is_signed = t.kind == 's';
    const u64 x = as_unsigned(a, t), y = as_unsigned(b, t);
    const s64 sx = as_signed(a, t), sy = as_signed(b, t);
    u64 r = 0;
    switch (in.op) {
        case Op::Add: r = x + y; break;
        case Op::Sub: r = x - y; break;
        case Op::Mul: r = x * y; break;
        case Op::Mad: r = x * y + c; break;
        case Op::MulHi: r = is_signed ? (u64)((s64)((__int128)sx * sy >> t.bits)) : (u64)((unsigned __int128)x * y >> t.bits); break;
        case Op::MulWide: return is_signed ? (u64)(sx * sy) & Type{'u', 2 * t.bits}.mask() : x * y;
        case Op::Div:
        case Op::Rem:
            if (!y) fail("a division by zero");
            if (is_signed)
                r = (u64)(in.op == Op::Div ? sx / sy : sx % sy);
            else
                r = in.op == Op::Div ? x / y : x % y;
            break;
        case Op::Min: r = is_signed ? (u64)std::min(sx, sy) : std::min(x, y); break;
        case Op::Max: r = is_signed ? (u64)std::max(sx, sy) : std::max(x, y); break;
        case Op::And: r = x & y; break;
        case Op::Or: r = x | y; break;
        case Op::Xor: r = x ^ y; break;
        case Op::Not: r = t.kind == 'p' ? !x : ~x; break;
        case Op::Neg: r = (u64)-sx; break;
        case Op::Shl: r = (u32)b >= (u32)t.bits ? 0 : x << (u32)b; break;
        case Op::Shr: {
            const u32 by = std::min((u32)b, (u32)t.bits);
            r = is_signed ? (u64)(sx >> std::min(by, (u32)t.bits - 1)) : by >= (u32)t.bits ? 0 : x >> by;
            break;
        }
        default: fail("an operation of integers that is not executed");
    }
    return r & t.mask();
}

inline u64 convert(const Instruction& in, u64 a) {
    const Type to = in.type, from = in.from;
    if (from.kind == 'f') {
        const double x = from.bits == 32 ? (double)bits_float((u32)a) : as_double(a);
        if (to.kind == 'f') return to.bits == 32 ? float_bits((float)x) : double_bits(x);
        if (std::isnan(x)) return 0;
        const double least = to.kind == 's' ? -std::ldexp(1.0, to.bits - 1) : 0;
        const double most = std::ldexp(1.0, to.kind == 's' ? to.bits - 1 : to.bits) - 1;
        const double clamped = std::min(std::max(std::trunc(x), least), most);
        return (to.kind == 's' ? (u64)(s64)clamped : (u64)clamped) & to.mask();
    }
    if (to.kind == 'f') {
        const bool is_signed = from.kind == 's';
        if (to.bits == 32) return float_bits(is_signed ? (float)as_signed(a, from) : (float)as_unsigned(a, from));
        return double_bits(is_signed ? (double)as_signed(a, from) : (double)as_unsigned(a, from));
    }
    return (from.kind == 's' ? (u64)as_signed(a, from) : as_unsigned(a, from)) & to.mask();
}

inline bool compare(const Instruction& in, u64 a, u64 b) {
    auto by = [&](auto x, auto y) {
        switch (in.compare) {
            case LT: return x < y;
            case LE: return x <= y;
            case GT: return x > y;
            case GE: return x >= y;
            case EQ: return x == y;
            default: return in.type.kind == 'f' ? x < y || x > y : x != y;  // `ne` of floats: false if either is NaN
        }
    };
    const Type t = in.type;
    if (t.kind == 'f') return t.bits == 32 ? by(bits_float((u32)a), bits_float((u32)b)) : by(as_double(a), as_double(b));
    return t.kind == 's' ? by(as_signed(a, t), as_signed(b, t)) : by(as_unsigned(a, t), as_unsigned(b, t));
}
}  // namespace ptx
