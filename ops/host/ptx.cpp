// PTX text, read and executed: what NVRTC makes of the kernels, which is what ships. Behind the interface of launch.h.
#include <memory>

#include "ptx_machine.h"
#include "ptx_reader.h"

using ptx::Function;
using ptx::Machine;
using ptx::Reader;
using ptx::Refused;

static size_t bytes_of_parameter(const std::string& declaration) {
    const size_t open = declaration.find('[');
    if (open != std::string::npos) return strtoul(declaration.c_str() + open + 1, nullptr, 10);
    std::stringstream words(declaration);
    for (std::string word; words >> word;)
        if (word[0] == '.' && word != ".param" && word != ".align") return Reader::type_of(word.substr(1)).bytes();
    throw Refused{"a parameter without a type: " + declaration};
}


struct SimtModule {
    std::map<std::string, std::unique_ptr<Function>> functions;
    std::map<std::string, SimtKernel> kernels;
};

static void read_module(SimtModule& module, const std::string& text) {
    Reader reader;
    size_t at = 0;
    // Arrays of shared memory outside functions.
    std::stringstream lines(text);
    int depth = 0;
    for (std::string line; std::getline(lines, line);) {
        line = line.substr(0, line.find("//"));
        if (depth == 0 && line.find(".shared") != std::string::npos) {
            auto [name, bytes] = Reader::array(line);
            if (line.find(".extern") != std::string::npos)
                reader.dynamic = name;
            else
                reader.module_shared[name] = bytes;
        }
        depth += std::count(line.begin(), line.end(), '{') - std::count(line.begin(), line.end(), '}');
    }
    if (text.find(".target") == std::string::npos) throw Refused{"a text without .target is no PTX"};
    while ((at = text.find(".entry ", at)) != std::string::npos) {
        at += 7;
        const size_t open = text.find('(', at), close = text.find(')', open), body = text.find("\n{", close);
        if (open == std::string::npos || close == std::string::npos || body == std::string::npos) throw Refused{"an entry without a body"};
        const std::string name = text.substr(at, open - at);
        size_t end = body + 2;
        for (int braces = 1; braces && end < text.size(); end++) braces += (text[end] == '{') - (text[end] == '}');
        auto function = std::make_unique<Function>();
        for (auto& declaration : Reader::split(text.substr(open + 1, close - open - 1), ',')) {
            if (declaration.find(".param") == std::string::npos) continue;
            const size_t stop = std::min(declaration.find('['), declaration.find_last_not_of(" \t\n") + 1);
            const size_t start = declaration.find_last_of(" \t", stop - 1) + 1;
            function->parameters.push_back({declaration.substr(start, stop - start), bytes_of_parameter(declaration)});
        }
        try {
            reader.function(*function, text.substr(body + 2, end - body - 3));
        } catch (Refused& refused) {
            throw Refused{name + ": " + refused.why};
        }
        SimtKernel& kernel = module.kernels[name];
        kernel.name = name;
        kernel.static_shared = function->static_bytes;
        kernel.threads_max = 1024;
        const std::string head = text.substr(close, body - close);
        if (const size_t bound = head.find(".maxntid"); bound != std::string::npos) kernel.threads_max = atoi(head.c_str() + bound + 8);
        for (auto& parameter : function->parameters) kernel.parameter_bytes.push_back(parameter.bytes);
        kernel.run = [f = function.get()](SimtDim grid, SimtDim block, size_t shared_bytes, void** parameters) {
            Machine machine(*f, block, shared_bytes, parameters);
            for (unsigned z = 0; z < grid.z; z++)
                for (unsigned y = 0; y < grid.y; y++)
                    for (unsigned x = 0; x < grid.x; x++) {
                        simt::block_index = {x, y, z};
                        machine.run({x, y, z}, grid);
                    }
        };
        module.functions[name] = std::move(function);
        at = end;
    }
    if (module.kernels.empty()) throw Refused{"a PTX text without a kernel"};
}

extern "C" {
SimtModule* ptx_load(const char* text, char* error, size_t error_bytes) {
    auto module = std::make_unique<SimtModule>();
    try {
        read_module(*module, text);
    } catch (const Refused& refused) {
        snprintf(error, error_bytes, "%s", refused.why.c_str());
        return nullptr;
    } catch (const std::exception& other) {
        snprintf(error, error_bytes, "not understood: %s", other.what());
        return nullptr;
    }
    return module.release();
}
const SimtKernel* ptx_find(const SimtModule* module, const char* name) {
    auto found = module->kernels.find(name);
    return found == module->kernels.end() ? nullptr : &found->second;
}
void ptx_unload(SimtModule* module) { delete module; }
}
