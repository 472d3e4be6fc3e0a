#include <causeway.h>
#include <stdio.h>

int main(int argc, char **argv) {
  causeway_options options = {.url = argc > 1 ? argv[1] : "ws://127.0.0.1:30000/v1/realtime_video", .prompt = "a meadow"};
  options.format = "jpeg", options.width = 96, options.height = 64, options.max_chunks = 4;
  char error[256];
  causeway_walk *walk = causeway_connect(&options, error, sizeof error);
  if (!walk) return fprintf(stderr, "%s\n", error), 1;
  causeway_send_controls(walk, "w");
  causeway_news news;
  int kind;
  while ((kind = causeway_poll_frame(walk, 1000, &news)) != CAUSEWAY_COMPLETE && kind != CAUSEWAY_ENDED)
    if (kind == CAUSEWAY_FRAME)
      printf("%d %d %d bytes\n", (int)news.frame.chunk, (int)news.frame.event_id, (int)news.frame.size);
  if (kind == CAUSEWAY_ENDED) fprintf(stderr, "%s\n", causeway_error(walk));
  causeway_free(walk);
  return kind != CAUSEWAY_COMPLETE;
}
