// The interpreter itself: single instructions whose results the PTX manual gives, and texts that it refuses.
#include "test.h"

namespace {
SimtModule* load(const std::string& body, std::string& error) {
    const std::string text = ".version 8.7\n.target sm_80\n.address_size 64\n.visible .entry one(\n.param .u64 one_param_0,\n.param .align 8 .b8 one_param_1[16]\n)\n{\n"
                             "ld.param.u64 %rd1, [one_param_0];\n" + body + "\nst.global.u32 [%rd1], %r1;\nret;\n}\n";
    char said[300] = "";
    SimtModule* module = ptx_load(text.c_str(), said, sizeof said);
    return error = said, module;
}

TEST(ptx_instructions) {
    struct {
        const char* body;
        uint32_t expected;
    } cases[] = {
        {"shr.s32 %r1, -8, 1;", 0xfffffffcu},
        {"shr.u32 %r1, -8, 1;", 0x7ffffffcu},
        {"shr.s32 %r1, -8, 40;", 0xffffffffu},  // shifts stop at the width
        {"shl.b32 %r1, 1, 32;", 0},
        {"bfi.b32 %r1, 5, -1, 8, 4;", 0xfffff5ffu},
        {"mul.hi.s32 %r1, -3, 1073741824;", 0xffffffffu},
        {"mul.hi.u32 %r1, -1, -1;", 0xfffffffeu},
        {"mul.wide.s32 %rd2, -2, 3; shr.u64 %rd3, %rd2, 32; cvt.u32.u64 %r1, %rd3;", 0xffffffffu},
        {"mul.wide.u32 %rd2, -2, 3; shr.u64 %rd3, %rd2, 32; cvt.u32.u64 %r1, %rd3;", 2},
        {"mul.lo.s16 %rs1, 300, 300; cvt.u32.u16 %r1, %rs1;", 90000 & 0xffff},
        {"div.s32 %r1, -7, 2;", 0xfffffffdu},  // towards zero
        {"rem.s32 %r1, -7, 2;", 0xffffffffu},
        {"rem.u32 %r1, 7, 4;", 3},
        {"mad.lo.s32 %r1, -2, 3, 10;", 4},
        {"min.s32 %r1, -1, 1;", 0xffffffffu},
        {"min.u32 %r1, -1, 1;", 1},
        {"cvt.rzi.s32.f32 %r1, 0fC0200000;", 0xfffffffeu},  // -2.5
        {"cvt.rzi.s32.f32 %r1, 0f7FC00000;", 0},            // NaN
        {"cvt.rzi.s32.f32 %r1, 0f7F800000;", 0x7fffffffu},  // infinity
        {"cvt.rn.f32.s32 %r1, 16777217;", 0x4b800000u},
        {"cvt.s64.s32 %rd2, -1; shr.u64 %rd3, %rd2, 32; cvt.u32.u64 %r1, %rd3;", 0xffffffffu},
        {"cvt.rn.bf16x2.f32 %r1, 0f3F800000, 0f40000000;", 0x3f804000u},  // the first operand is the upper half
        {"cvt.rn.bf16x2.f32 %r1, 0f3F808000, 0f3F818000;", 0x3f803f82u},  // ties to even
        {"min.f32 %r1, 0f7FC00000, 0f3F800000;", 0x3f800000u},
        {"fma.rn.f32 %r1, 0f3F800001, 0f3F800001, 0fBF800002;", 0x28800000u},  // one rounding: 2^-46 is left
        {"setp.lt.f32 %p1, 0f7FC00000, 0f3F800000; selp.b32 %r1, 7, 9, %p1;", 9},
        {"setp.ne.f32 %p1, 0f7FC00000, 0f3F800000; selp.b32 %r1, 7, 9, %p1;", 9},
        {"setp.lt.s32 %p1, -1, 1; selp.b32 %r1, 7, 9, %p1;", 7},
        {"setp.lt.u32 %p1, -1, 1; selp.b32 %r1, 7, 9, %p1;", 9},
        {"mov.u32 %r1, 5; setp.eq.s32 %p1, %r1, 5; @!%p1 mov.u32 %r1, 6;", 5},
        {"ld.param.u32 %r1, [one_param_1+8];", 0x33},
        {"ld.param.v2.u32 {%r2, %r1}, [one_param_1];", 0x22},
        {"mov.u64 %rd2, one_param_1; ld.param.u32 %r1, [%rd2+4];", 0x22},
        // Lanes part, one goes round more often, and they meet before the shuffle. Lane 1's sum is what lane 0 gets.
        {"mov.u32 %r5, %tid.x; mov.u32 %r1, 0;\n$L: add.s32 %r1, %r1, %r5; sub.s32 %r5, %r5, 1; setp.gt.s32 %p1, %r5, 0; @%p1 bra $L;\n"
         "shfl.sync.bfly.b32 %r1|%p2, %r1, 31, 31, -1; mov.u32 %r6, %tid.x; setp.ne.s32 %p3, %r6, 0; @%p3 bra $END;\nst.global.u32 [%rd1], %r1;\n$END: ret;",
         31 * 32 / 2},
    };
    for (auto& [body, expected] : cases) {
        std::string error, lines = body;
        for (size_t at; (at = lines.find(": ")) != std::string::npos;) lines.replace(at, 2, ":\n");  // a label has a line of its own
        SimtModule* module = load(lines, error);
        uint32_t found = 0xabababab;
        if (module) {
            uint32_t* out = &found;
            uint32_t numbers[4] = {0x11, 0x22, 0x33, 0x44};
            void* given[] = {&out, numbers};
            simt_launch(ptx_find(module, "one"), {1, 1, 1}, {32, 1, 1}, 0, given);
            ptx_unload(module);
        }
        report(text("%s -> %08x, not %08x %s", body, found, expected, error.c_str()), 0, module && found == expected);
    }
}

TEST(ptx_refusals) {
    struct {
        const char *body, *said;
    } cases[] = {
        {"vote.sync.ballot.b32 %r1, %p1, -1;", "one: not executed: vote.sync.ballot.b32"},
        {"add.sat.s32 %r1, 1, 2;", "not executed: add.sat.s32"},
        {"cvt.rni.s32.f32 %r1, 0f3F800000;", "not executed: cvt.rni.s32.f32"},
        {"ld.local.u32 %r1, [%rd1];", "not executed: ld.local.u32"},
        {"bra $NOWHERE;", "no such place: $NOWHERE"},
        {"mov.u64 %rd2, nothing;", "an unknown name: nothing"},
    };
    for (auto& [body, said] : cases) {
        std::string error;
        SimtModule* module = load(body, error);
        report(text("%s: %s", body, error.c_str()), 0, !module && error.find(said) != std::string::npos);
    }
    char error[300] = "";
    report("a text that is no PTX", 0, !ptx_load("hello", error, sizeof error) && strstr(error, "no PTX"));
}
}  // namespace
