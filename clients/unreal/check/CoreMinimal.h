// A stand-in for the few names of Unreal that CausewayWalk.h uses, so that a compiler can read it.

#pragma once

#include <cstdint>
#include <string>

using int32 = std::int32_t;
using uint32 = std::uint32_t;
using uint64 = std::uint64_t;
using TCHAR = char16_t;

class FString
{
public:
	FString() = default;
	FString(const TCHAR* Text) : Text(Text) {}
	const TCHAR* operator*() const { return Text.c_str(); }

private:
	std::u16string Text;
};

class FTCHARToUTF8
{
public:
	explicit FTCHARToUTF8(const TCHAR*) {}
	const char* Get() const { return ""; }
};

inline const TCHAR* UTF8_TO_TCHAR(const char*) { return u""; }
