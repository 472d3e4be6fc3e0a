// Executes a function of PTX, block by block. A warp is 32 lanes in step; where they part, those with the lowest place in the
// code go first, and those that reach an operation of the whole warp wait for the others.
//
// As strict as the fibers of simt.h: shared memory and registers start as NaN, warps run alone for random stretches, a
// `cp.async` lands at once or at its wait, and what threads miss, misalign or read past its end is an error.
#pragma once
#include "ptx_arithmetic.h"

namespace ptx {
// Lanes of a warp that are at one place. `blocked`: at an operation that needs the whole warp, until the others come.
struct Group {
    int pc;
    u32 lanes;
    bool blocked = false;
};
struct Copies {
    std::vector<std::vector<simt::Copy>> groups{1};
};

// One block.
class Machine {
  public:
    Machine(const Function& f, SimtDim block, size_t shared_bytes, void** parameters)
        : f(f), size(block), threads(block.x * block.y * block.z), shared(f.static_bytes + shared_bytes), given(parameters) {
        if (threads % WARP) fail("a block is not of whole warps");
    }

    void run(SimtDim index, SimtDim grid_size) {
        at = index, grid = grid_size;
        shared_memory.assign((shared + 15) / 8, ~0ull);
        warps.clear();
        for (int w = 0; w < threads / WARP; w++) {
            warps.emplace_back();
            warps.back().registers.assign((size_t)f.registers * WARP, ~0ull);
            warps.back().groups = {{0, ~0u}};
        }
        alive = warps.size(), arrived = 0;
        std::vector<int> ready;
        while (alive) {
            ready.clear();
            for (size_t w = 0; w < warps.size(); w++)
                if (!warps[w].groups.empty() && !warps[w].waits) ready.push_back(w);
            if (ready.empty()) fail("threads wait for others that never come");
            warp_number = ready[simt::random_below(ready.size())];
            warp = &warps[warp_number];
            for (int more = simt::random_below(3000); more >= 0 && !warp->groups.empty() && !warp->waits; more--) step();
        }
    }

  private:
    struct WarpState {
        std::vector<u64> registers;
        std::vector<Group> groups;  // lanes that have not ended, by where they are
        bool waits = false;
        int barrier = 0;
        Copies copies[WARP];
    };
    const Function& f;
    SimtDim size;
    int threads;
    size_t shared;
    void** given;
    SimtDim at{}, grid{};
    std::vector<u64> shared_memory;
    std::vector<WarpState> warps;
    WarpState* warp = nullptr;
    int warp_number = 0, alive = 0, arrived = 0;

    u64& reg(int number, int lane) { return warp->registers[(size_t)number * WARP + lane]; }
    void here(int lane) {  // for messages
        const unsigned thread = warp_number * WARP + lane;
        simt::thread_index = {thread % size.x, thread / size.x % size.y, thread / (size.x * size.y)};
    }
    u64 raw(const Operand& o, int lane) {
        switch (o.kind) {
            case Operand::Register: return reg(o.reg, lane);
            case Operand::Immediate: return o.value;
            case Operand::Address: return o.value + (o.reg < 0 ? 0 : reg(o.reg, lane));
            case Operand::Special: break;
        }
        const unsigned thread = warp_number * WARP + lane;
        switch (o.value) {
            case TID: return thread % size.x;
            case TID + 1: return thread / size.x % size.y;
            case TID + 2: return thread / (size.x * size.y);
            case NTID: return size.x;
            case NTID + 1: return size.y;
            case NTID + 2: return size.z;
            case CTAID: return at.x;
            case CTAID + 1: return at.y;
            case CTAID + 2: return at.z;
            case NCTAID: return grid.x;
            case NCTAID + 1: return grid.y;
            case NCTAID + 2: return grid.z;
            default: return lane;
        }
    }
    unsigned char* shared_at(u64 address, size_t bytes) {
        address &= 0xffffffffu;  // 32-bit registers hold such addresses
        if (address + bytes > shared) fail("an access past the end of shared memory");
        if (address % bytes) fail("an access to shared memory off alignment");
        return (unsigned char*)shared_memory.data() + address;
    }
    unsigned char* global_at(u64 address, size_t bytes, bool write) {
        if (address % bytes) fail("an access to global memory off alignment");
        if (address < 65536) fail("an access near address zero");
        if (!simt::allowed((const void*)address, bytes, write)) fail("an access to memory that is not allocated");
        return (unsigned char*)address;
    }
    unsigned char* memory(const Instruction& in, u64 address, size_t bytes) {
        switch (in.space) {
            case Space::Shared: return shared_at(address, bytes);
            case Space::Param: {
                const u64 number = address / PARAMETER - 1, offset = address % PARAMETER;
                if (number >= f.parameters.size() || offset + bytes > f.parameters[number].bytes) fail("a parameter is read past its end");
                return (unsigned char*)given[number] + offset;
            }
            default: return global_at(address, bytes, in.op == Op::Store);
        }
    }

    void step() {
        // The lanes that are furthest back, of those that can go on.
        auto& groups = warp->groups;
        size_t g = groups.size();
        for (size_t i = 0; i < groups.size(); i++)
            if (!groups[i].blocked && (g == groups.size() || groups[i].pc < groups[g].pc)) g = i;
        if (g == groups.size()) here(__builtin_ctz(groups[0].lanes)), fail("lanes of a warp wait at different operations, or for ended ones");
        for (size_t i = groups.size(); i-- > 0;)
            if (i != g && groups[i].pc == groups[g].pc) {
                groups[g].lanes |= groups[i].lanes;
                groups.erase(groups.begin() + i);
                if (i < g) g--;
            }
        const int pc = groups[g].pc;
        const Instruction& in = f.code[pc];
        u32 lanes = groups[g].lanes;
        const u32 all = lanes;
        if (in.predicate >= 0)
            for (int l = 0; l < WARP; l++)
                if (lanes >> l & 1 && ((reg(in.predicate, l) & 1) != 0) == in.negated) lanes &= ~(1u << l);
        auto each = [&](auto what) {
            if (lanes == ~0u)
                for (int l = 0; l < WARP; l++) what(l);
            else
                for (int l = 0; l < WARP; l++)
                    if (lanes >> l & 1) what(l);
        };
        groups[g].pc = pc + 1;
        // Is the whole warp here? If not, these lanes wait for the others.
        auto together = [&] {
            if (lanes == ~0u) return true;
            if (lanes != all) here(__builtin_ctz(all)), fail("a warp operation under a condition that not all lanes fulfil");
            groups[g].pc = pc, groups[g].blocked = true;
            return false;
        };
        const auto& o = in.o;
        switch (in.op) {
            case Op::Branch:
                if (lanes == all)
                    groups[g].pc = in.target;
                else if (lanes) {
                    groups[g].lanes = all & ~lanes;
                    groups.push_back({in.target, lanes});
                }
                break;
            case Op::Ret:
                each([&](int l) {
                    for (auto& group : warp->copies[l].groups)
                        if (!group.empty()) here(l), fail("a thread ended before its asynchronous copies were waited for");
                });
                if (lanes && arrived) fail("a thread ended while others wait for it at a barrier");
                groups[g].lanes &= ~lanes;
                if (!groups[g].lanes) groups.erase(groups.begin() + g);
                if (groups.empty()) alive--;

                break;
            case Op::Barrier: {
                if (!together()) break;
                if (alive < (int)warps.size()) fail("a barrier that an ended thread misses");
                warp->waits = true, warp->barrier = pc;
                if (++arrived == (int)warps.size()) {
                    for (auto& other : warps) {
                        if (other.barrier != pc) fail("threads of a block wait at different barriers");
                        other.waits = false;
                    }
                    arrived = 0;
                }
                break;
            }
            case Op::Mov:
            case Op::Cvta: each([&](int l) { reg(o[0].reg, l) = raw(o[1], l) & in.type.mask(); }); break;
            case Op::Cvt: each([&](int l) { reg(o[0].reg, l) = convert(in, raw(o[1], l)); }); break;
            case Op::CvtPack:
                each([&](int l) {
                    reg(o[0].reg, l) = simt::round_to_bf16(bits_float((u32)raw(o[1], l))) << 16 | simt::round_to_bf16(bits_float((u32)raw(o[2], l)));
                });
                break;
            case Op::Setp: each([&](int l) { reg(o[0].reg, l) = compare(in, raw(o[1], l), raw(o[2], l)); }); break;
            case Op::Selp: each([&](int l) { reg(o[0].reg, l) = raw(raw(o[3], l) & 1 ? o[1] : o[2], l) & in.type.mask(); }); break;
            case Op::Bfi:
                each([&](int l) {
                    const u32 first = (u32)raw(o[3], l) & 0xff, count = (u32)raw(o[4], l) & 0xff;
                    const u64 mask = ((count >= 64 ? 0 : 1ull << count) - 1) << first;
                    reg(o[0].reg, l) = ((raw(o[2], l) & ~mask) | (raw(o[1], l) << first & mask)) & in.type.mask();
                });
                break;
            case Op::Load:
                each([&](int l) {
                    here(l);
                    const size_t bytes = in.type.bytes();
                    const unsigned char* from = memory(in, raw(o[in.width], l), bytes * in.width);
                    for (int i = 0; i < in.width; i++) {
                        u64 x = 0;
                        memcpy(&x, from + i * bytes, bytes);
                        reg(o[i].reg, l) = in.type.kind == 's' ? (u64)as_signed(x, in.type) : x;
                    }
                });
                break;
            case Op::Store:
                each([&](int l) {
                    here(l);
                    const size_t bytes = in.type.bytes();
                    unsigned char* to = memory(in, raw(o[in.width], l), bytes * in.width);
                    for (int i = 0; i < in.width; i++) {
                        const u64 x = raw(o[i], l);
                        memcpy(to + i * bytes, &x, bytes);
                    }
                });
                break;
            case Op::Shuffle: {
                if (!together()) break;
                u32 x[WARP];
                // Destination, predicate, source, distance, clamp, members.
                const bool predicate = o.size() == 6;
                const auto& source = o[predicate ? 2 : 1];
                for (int l = 0; l < WARP; l++) x[l] = (u32)raw(source, l);
                for (int l = 0; l < WARP; l++) {
                    const u32 distance = (u32)raw(o[predicate ? 3 : 2], l), clamp = (u32)raw(o[predicate ? 4 : 3], l);
                    if (clamp != 31 || (u32)raw(o[predicate ? 5 : 4], l) != ~0u) fail("a shuffle over a part of a warp");
                    reg(o[0].reg, l) = x[(l ^ distance) & 31];
                    if (predicate) reg(o[1].reg, l) = 1;
                }
                break;
            }
            case Op::Copy:
                each([&](int l) {
                    here(l);
                    const u64 from = raw(o[1], l);
                    const u32 bytes = o.size() > 3 ? (u32)raw(o[3], l) : 16;
                    if ((o[2].value & 0xff) != 16 || (bytes != 16 && bytes != 0)) fail("an asynchronous copy of other than 16 bytes");
                    if (from % 16) fail("cp.async reads at an address that is no multiple of 16");
                    if (bytes) global_at(from, 16, false);
                    const simt::Copy copy{shared_at(raw(o[0], l), 16), (const void*)from, bytes == 16};
                    if (simt::coin()) return simt::land(copy);
                    warp->copies[l].groups.back().push_back(copy);
                });
                break;
            case Op::CopyCommit: each([&](int l) { warp->copies[l].groups.emplace_back(); }); break;
            case Op::CopyWait:
                each([&](int l) {
                    auto& pending = warp->copies[l].groups;
                    while (pending.size() > o[0].value + 1) {
                        for (auto& copy : pending.front()) simt::land(copy);
                        pending.erase(pending.begin());
                    }
                });
                break;
            case Op::Tiles: {
                if (!together()) break;
                for (int l = 0; l < WARP; l++) here(l), exchange[l].address = shared_at(raw(o[4], l), 16);
                simt::load_tiles(exchange, in.turned);
                for (int l = 0; l < WARP; l++)
                    for (int i = 0; i < 4; i++) reg(o[i].reg, l) = exchange[l].got[i];
                break;
            }
            case Op::Mma:
                if (!together()) break;
                for (int l = 0; l < WARP; l++) {
                    for (int i = 0; i < 4; i++) exchange[l].a[i] = (u32)raw(o[4 + i], l), exchange[l].sums[i] = bits_float((u32)raw(o[10 + i], l));
                    for (int i = 0; i < 2; i++) exchange[l].b[i] = (u32)raw(o[8 + i], l);
                }
                simt::mma(exchange);
                for (int l = 0; l < WARP; l++)
                    for (int i = 0; i < 4; i++) reg(o[i].reg, l) = float_bits(exchange[l].sums[i]);
                break;
            default: {
                const int count = o.size();
                if (count == 2)
                    each([&](int l) { reg(o[0].reg, l) = compute(in, raw(o[1], l), 0, 0); });
                else if (count == 3)
                    each([&](int l) { reg(o[0].reg, l) = compute(in, raw(o[1], l), raw(o[2], l), 0); });
                else
                    each([&](int l) { reg(o[0].reg, l) = compute(in, raw(o[1], l), raw(o[2], l), raw(o[3], l)); });
            }
        }
    }

    simt::Exchange exchange[WARP];
};
}  // namespace ptx
