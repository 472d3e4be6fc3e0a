// Build with `cargo build --release -p causeway-c`, and put libcauseway.a (causeway.lib) and causeway.h beside this file. Not run
// by the tests: they compile the header against a stand-in for Unreal's types, and nothing more.

using System.IO;
using UnrealBuildTool;

public class Causeway : ModuleRules
{
    public Causeway(ReadOnlyTargetRules target) : base(target)
    {
        PCHUsage = PCHUsageMode.UseExplicitOrSharedPCHs;
        PublicDependencyModuleNames.AddRange(new[] { "Core", "CoreUObject", "Engine" });
        PublicIncludePaths.Add(ModuleDirectory);
        var library = target.Platform == UnrealTargetPlatform.Win64 ? "causeway.lib" : "libcauseway.a";
        PublicAdditionalLibraries.Add(Path.Combine(ModuleDirectory, library));
    }
}
