// Reads the functions of a PTX text. It knows the instructions that NVRTC makes of the kernels, and refuses any other by name.
#pragma once
#include <algorithm>
#include <sstream>

#include "ptx.h"

namespace ptx {
struct Reader {
    std::map<std::string, size_t> module_shared;  // arrays outside functions, bytes
    std::string dynamic;                          // the name of dynamic shared memory

    static Type type_of(const std::string& word) {
        if (word == "pred") return {'p', 1};
        if (word.size() < 2 || !strchr("bufs", word[0])) throw Refused{"no type: " + word};
        return {word[0], atoi(word.c_str() + 1)};
    }
    static std::vector<std::string> split(const std::string& text, char at) {
        std::vector<std::string> out;
        std::stringstream in(text);
        for (std::string part; std::getline(in, part, at);) out.push_back(part);
        return out;
    }
    // `.shared .align 16 .b8 name[16]`: the name and its bytes.
    static std::pair<std::string, size_t> array(const std::string& line) {
        const size_t open = line.find('['), start = line.find_last_of(" \t", open) + 1;
        return {line.substr(start, open - start), strtoul(line.c_str() + open + 1, nullptr, 10)};
    }

    Function* f = nullptr;
    std::map<std::string, int> registers, labels;
    std::vector<std::pair<int, std::string>> jumps;

    void place_array(const std::string& name, size_t bytes) {
        f->static_bytes = (f->static_bytes + 15) / 16 * 16;
        f->shared[name] = f->static_bytes;
        f->static_bytes += bytes;
    }
    int reg(const std::string& name) {
        auto [at, added] = registers.emplace(name, (int)registers.size());
        return at->second;
    }
    u64 symbol(const std::string& name) {
        for (size_t i = 0; i < f->parameters.size(); i++)
            if (f->parameters[i].name == name) return PARAMETER * (i + 1);
        if (name == dynamic) return u64(-1);  // known once all arrays are; see `read`
        if (!f->shared.count(name)) {
            if (!module_shared.count(name)) throw Refused{"an unknown name: " + name};
            place_array(name, module_shared[name]);
        }
        return f->shared[name];
    }
    Operand operand(std::string word) {
        Operand out;
        if (word[0] == '[') {
            word = word.substr(1, word.size() - 2);
            out.kind = Operand::Address;
            const size_t plus = word.find('+');
            if (plus != std::string::npos) out.value = (u64)strtoll(word.c_str() + plus + 1, nullptr, 10), word.resize(plus);
            if (word[0] == '%')
                out.reg = reg(word);
            else if (word == dynamic)
                throw Refused{"an address of dynamic shared memory without a register"};
            else
                out.value += symbol(word);
            return out;
        }
        if (word[0] == '%') {
            static const std::map<std::string, int> special = {
                {"%tid.x", TID}, {"%tid.y", TID + 1}, {"%tid.z", TID + 2}, {"%ntid.x", NTID}, {"%ntid.y", NTID + 1}, {"%ntid.z", NTID + 2},
                {"%ctaid.x", CTAID}, {"%ctaid.y", CTAID + 1}, {"%ctaid.z", CTAID + 2}, {"%nctaid.x", NCTAID}, {"%nctaid.y", NCTAID + 1},
                {"%nctaid.z", NCTAID + 2}, {"%laneid", LANE}};
            if (auto found = special.find(word); found != special.end())
                out.kind = Operand::Special, out.value = found->second;
            else
                out.kind = Operand::Register, out.reg = reg(word);
            return out;
        }
        if (word.size() == 10 && word.rfind("0f", 0) == 0)
            out.value = strtoull(word.c_str() + 2, nullptr, 16);
        else if (word.size() == 18 && word.rfind("0d", 0) == 0)
            out.value = strtoull(word.c_str() + 2, nullptr, 16);
        else if (isdigit(word[0]) || word[0] == '-')
            out.value = (u64)strtoll(word.c_str(), nullptr, 0);
        else if (word == dynamic)
            out.kind = Operand::Special, out.value = u64(-1);
        else
            out.value = symbol(word);
        return out;
    }

    void instruction(std::string line) {
        Instruction in;
        if (line[0] == '@') {
            const size_t space = line.find_first_of(" \t");
            in.negated = line[1] == '!';
            in.predicate = reg(line.substr(1 + in.negated, space - 1 - in.negated));
            line = line.substr(line.find_first_not_of(" \t", space));
        }
        const size_t space = std::min(line.find_first_of(" \t"), line.size());
        const std::string name = line.substr(0, space);
        std::vector<std::string> words;  // operands; braces are opened
        {
            std::string word;
            auto end = [&] {
                if (!word.empty()) words.push_back(word);
                word.clear();
            };
            for (char c : line.substr(space))
                if (c == ',' || c == '{' || c == '}' || c == '|')
                    end();
                else if (c != ' ' && c != '\t')
                    word += c;
            end();
        }
        const auto parts = split(name, '.');
        const std::string& op = parts[0];
        auto has = [&](const char* word) { return std::find(parts.begin(), parts.end(), word) != parts.end(); };
        auto last = [&](size_t back) { return type_of(parts.at(parts.size() - 1 - back)); };
        static const std::map<std::string, Op> plain = {
            {"add", Op::Add}, {"sub", Op::Sub}, {"fma", Op::Fma}, {"div", Op::Div}, {"rem", Op::Rem}, {"min", Op::Min}, {"max", Op::Max},
            {"and", Op::And}, {"or", Op::Or}, {"xor", Op::Xor}, {"not", Op::Not}, {"neg", Op::Neg}, {"shl", Op::Shl}, {"shr", Op::Shr},
            {"bfi", Op::Bfi}, {"rcp", Op::Rcp}, {"sqrt", Op::Sqrt}, {"rsqrt", Op::Rsqrt}, {"ex2", Op::Ex2}, {"mov", Op::Mov},
            {"selp", Op::Selp}};
        bool operands = true;
        if (auto found = plain.find(op); found != plain.end()) {
            in.op = found->second, in.type = last(0);
            // Roundings that are not the nearest, saturation and carries are not built.
            for (size_t i = 1; i + 1 < parts.size(); i++)
                if (parts[i] != "rn" && !(op == "ex2" && (parts[i] == "approx" || parts[i] == "ftz")) && !(op == "rsqrt" && parts[i] == "approx"))
                    throw Refused{"not executed: " + name};
        } else if (op == "mul" || op == "mad") {
            in.op = op == "mad" ? Op::Mad : has("wide") ? Op::MulWide : has("hi") ? Op::MulHi : Op::Mul;
            in.type = last(0);
            if (op == "mad" && !has("lo")) throw Refused{"not executed: " + name};
        } else if (op == "cvt") {
            in.op = name == "cvt.rn.bf16x2.f32" ? Op::CvtPack : Op::Cvt;
            in.from = last(0);
            in.type = in.op == Op::Cvt ? last(1) : in.from;
            const bool to_integer = in.type.kind != 'f' && in.from.kind == 'f';
            if (to_integer && !has("rzi")) throw Refused{"not executed: " + name};
            if (has("sat")) throw Refused{"not executed: " + name};
        } else if (op == "cvta") {
            if (name != "cvta.to.global.u64") throw Refused{"not executed: " + name};
            in.op = Op::Cvta, in.type = last(0);
        } else if (op == "setp") {
            static const std::map<std::string, int> compare = {{"lt", LT}, {"le", LE}, {"gt", GT}, {"ge", GE}, {"eq", EQ}, {"ne", NE}};
            if (parts.size() != 3 || !compare.count(parts[1])) throw Refused{"not executed: " + name};
            in.op = Op::Setp, in.compare = compare.at(parts[1]), in.type = last(0);
        } else if (op == "ld" || op == "st") {
            in.op = op == "ld" ? Op::Load : Op::Store, in.type = last(0);
            in.space = has("global") ? Space::Global : has("shared") ? Space::Shared : has("param") ? Space::Param : Space::Generic;
            in.width = has("v2") ? 2 : has("v4") ? 4 : 1;
            for (size_t i = 1; i + 1 < parts.size(); i++)
                if (parts[i] != "global" && parts[i] != "shared" && parts[i] != "param" && parts[i] != "v2" && parts[i] != "v4")
                    throw Refused{"not executed: " + name};
            if (op == "st") std::rotate(words.begin(), words.begin() + 1, words.end());  // the address last, as in loads
        } else if (op == "bra") {
            in.op = Op::Branch, operands = false;
            jumps.push_back({(int)f->code.size(), words.at(0)});
        } else if (name == "ret" || name == "exit") {
            in.op = Op::Ret;
        } else if (name == "bar.sync") {
            if (words != std::vector<std::string>{"0"}) throw Refused{"only barrier 0 is executed"};
            in.op = Op::Barrier, operands = false;
        } else if (name == "shfl.sync.bfly.b32") {
            in.op = Op::Shuffle;
        } else if (name == "cp.async.cg.shared.global") {
            in.op = Op::Copy;
        } else if (name == "cp.async.commit_group") {
            in.op = Op::CopyCommit;
        } else if (name == "cp.async.wait_group") {
            in.op = Op::CopyWait;
        } else if (op == "ldmatrix") {
            in.op = Op::Tiles, in.turned = has("trans");
            if (!has("x4") || !has("m8n8") || !has("shared") || !has("b16")) throw Refused{"not executed: " + name};
        } else if (name == "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32") {
            in.op = Op::Mma;
        } else
            throw Refused{"not executed: " + name};
        if (operands)
            for (auto& word : words) in.o.push_back(operand(word));
        f->code.push_back(in);
    }

    // `body`: between the braces of a function.
    void function(Function& into, const std::string& body) {
        f = &into;
        registers.clear(), labels.clear(), jumps.clear();
        std::stringstream lines(body);
        std::string statement;
        auto trim = [](std::string s) {
            const size_t first = s.find_first_not_of(" \t\r");
            return first == std::string::npos ? "" : s.substr(first, s.find_last_not_of(" \t\r") - first + 1);
        };
        for (std::string line; std::getline(lines, line);) {
            line = trim(line.substr(0, line.find("//")));
            if (line.empty()) continue;
            if (statement.empty() && line[0] == '$' && line.back() == ':') {
                labels[line.substr(0, line.size() - 1)] = (int)f->code.size();
                continue;
            }
            statement += (statement.empty() ? "" : " ") + line;
            while (true) {
                const size_t end = statement.find(';');
                if (end == std::string::npos) break;
                const std::string one = trim(statement.substr(0, end));
                statement = trim(statement.substr(end + 1));
                if (one.empty()) continue;
                if (one.rfind(".reg", 0) == 0 || one.rfind(".pragma", 0) == 0) continue;
                if (one.rfind(".shared", 0) == 0) {
                    auto [name, bytes] = array(one);
                    place_array(name, bytes);
                } else if (one[0] == '.')
                    throw Refused{"not executed: " + one};
                else
                    instruction(one);
            }
        }
        if (!statement.empty()) throw Refused{"not understood: " + statement};
        for (auto& [at, label] : jumps) {
            if (!labels.count(label)) throw Refused{"no such place: " + label};
            f->code[at].target = labels[label];
        }
        // Dynamic shared memory begins behind the arrays, all of which are known now.
        const u64 start = (f->static_bytes + 15) / 16 * 16;
        for (auto& in : f->code)
            for (auto& o : in.o)
                if (o.kind == Operand::Special && o.value == u64(-1)) o.kind = Operand::Immediate, o.value = start;
        f->static_bytes = start;
        f->registers = registers.size();
        Instruction end;
        end.op = Op::Ret;
        f->code.push_back(end);
    }
};
}  // namespace ptx
