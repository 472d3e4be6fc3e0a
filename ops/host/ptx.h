// PTX as it is read (ptx_reader.h) and executed (ptx_machine.h): functions, instructions, operands.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "../kernels/portable.cuh"

namespace ptx {
using simt::WARP;
using simt::fail;
typedef long long s64;


// The kinds of numbers that instructions end in.
struct Type {
    char kind = 'b';  // b bits, u unsigned, s signed, f float, p predicate
    int bits = 32;
    int bytes() const { return bits / 8; }
    u64 mask() const { return bits >= 64 ? ~0ull : (1ull << bits) - 1; }
};
enum class Space { Generic, Global, Shared, Param };
enum class Op {
    Add, Sub, Mul, MulHi, MulWide, Mad, Fma, Div, Rem, Min, Max, And, Or, Xor, Not, Neg, Shl, Shr, Bfi, Rcp, Sqrt, Rsqrt, Ex2,
    Mov, Cvt, CvtPack, Cvta, Setp, Selp, Load, Store, Branch, Ret, Barrier, Shuffle, Copy, CopyCommit, CopyWait, Tiles, Mma
};
struct Operand {
    enum { Register, Immediate, Special, Address } kind = Immediate;
    int reg = -1;    // of a register, or of an address; -1: none
    u64 value = 0;   // an immediate, an address's offset, a special register's number
};
struct Instruction {
    Op op{};
    Type type, from;
    Space space = Space::Generic;
    int width = 1;  // of vector loads and stores
    int compare = 0;
    bool turned = false, negated = false;
    int predicate = -1, target = -1, line = 0;
    std::vector<Operand> o;
};
enum { LT, LE, GT, GE, EQ, NE };
enum { TID, NTID = 3, CTAID = 6, NCTAID = 9, LANE = 12 };

struct Parameter {
    std::string name;
    size_t bytes;
};
struct Function {
    std::vector<Parameter> parameters;
    std::vector<Instruction> code;
    std::map<std::string, u64> shared;  // offsets of this function's arrays
    size_t static_bytes = 0;
    int registers = 0;
};
struct Refused {
    std::string why;
};
// Addresses of parameters are made of their number and an offset.
const u64 PARAMETER = 1ull << 40;

}  // namespace ptx
