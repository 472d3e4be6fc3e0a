#include "CausewayWalk.h"

int main()
{
	FCausewayWalk Walk(u"ws://127.0.0.1:30000/v1/realtime_video", u"a meadow", 320, 192, 16);
	causeway_frame Frame;
	Walk.Hold(u"w");
	Walk.Prompt(u"by night");
	Walk.Reset(u"a meadow", 7);
	FCausewayWalk Viewer(u"ws://127.0.0.1:30000/v1/realtime_video", u"cwv_token");
	return Walk.IsWalking() && Walk.Poll(Frame) ? static_cast<int>(Frame.width) : 0;
}
