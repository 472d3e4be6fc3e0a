// A walk in a Causeway world for Unreal, over the C interface. Poll it in Tick, and copy a frame into a texture of PF_R8G8B8A8
// (raw frames are RGB8) or give it to IImageWrapper (JPEG).
//
// The tests compile this header against a stand-in for Unreal's types. It was not built with Unreal.

#pragma once

#include "CoreMinimal.h"

#include "causeway.h"

class FCausewayWalk
{
public:
	/** Connect and begin. Waits for the connection; IsWalking says whether there is one, Why what was wrong. */
	FCausewayWalk(const FString& Url, const FString& Prompt, int32 Width, int32 Height, int32 Fps)
	{
		const FTCHARToUTF8 Utf8Url(*Url);
		const FTCHARToUTF8 Utf8Prompt(*Prompt);
		causeway_options Options = {};
		Options.url = Utf8Url.Get();
		Options.prompt = Utf8Prompt.Get();
		Options.width = static_cast<uint32>(Width);
		Options.height = static_cast<uint32>(Height);
		Options.fps = static_cast<uint32>(Fps);
		Options.paced = 1;
		char Error[256] = "";
		Walk = causeway_connect(&Options, Error, sizeof(Error));
		if (Walk == nullptr)
		{
			Reason = UTF8_TO_TCHAR(Error);
		}
	}

	/** Watch the session that a token of its player stands for. What it says steers only what it was handed. */
	FCausewayWalk(const FString& Url, const FString& ViewToken)
	{
		const FTCHARToUTF8 Utf8Url(*Url);
		const FTCHARToUTF8 Utf8Token(*ViewToken);
		char Error[256] = "";
		Walk = causeway_watch(Utf8Url.Get(), Utf8Token.Get(), nullptr, Error, sizeof(Error));
		if (Walk == nullptr)
		{
			Reason = UTF8_TO_TCHAR(Error);
		}
	}

	~FCausewayWalk()
	{
		causeway_free(Walk);
	}

	FCausewayWalk(const FCausewayWalk&) = delete;
	FCausewayWalk& operator=(const FCausewayWalk&) = delete;

	bool IsWalking() const
	{
		return Walk != nullptr && !bOver;
	}

	/** Why the walk did not begin, or ended. */
	const FString& Why() const
	{
		return Reason;
	}

	/** The next frame, if one has come. It is good until the next call. Never waits. */
	bool Poll(causeway_frame& Frame)
	{
		causeway_news News;
		while (IsWalking())
		{
			switch (causeway_poll_frame(Walk, 0, &News))
			{
			case CAUSEWAY_FRAME:
				Frame = News.frame;
				return true;
			case CAUSEWAY_NOTHING:
				return false;
			case CAUSEWAY_COMPLETE:
				bOver = true;
				return false;
			case CAUSEWAY_ENDED:
				Reason = UTF8_TO_TCHAR(causeway_error(Walk));
				bOver = true;
				return false;
			default:
				break;
			}
		}
		return false;
	}

	/** From now on these keys are held: "wl" walks and turns right. Gives the event's id. */
	uint32 Hold(const FString& Keys)
	{
		return causeway_send_controls(Walk, FTCHARToUTF8(*Keys).Get());
	}

	/** Draw what follows under another prompt. Gives the event's id. */
	uint32 Prompt(const FString& Text)
	{
		return causeway_send_prompt(Walk, FTCHARToUTF8(*Text).Get());
	}

	/** Begin another video in the same session, from this prompt and seed. Gives the event's id. */
	uint32 Reset(const FString& Prompt, uint64 Seed)
	{
		const FTCHARToUTF8 Utf8Prompt(*Prompt);
		causeway_options Beginning = {};
		Beginning.prompt = Utf8Prompt.Get();
		Beginning.seed = Seed;
		Beginning.has_seed = 1;
		return causeway_reset(Walk, &Beginning);
	}

private:
	causeway_walk* Walk = nullptr;
	bool bOver = false;
	FString Reason;
};
