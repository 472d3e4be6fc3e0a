/* Walk in a Causeway world from C or C++: frames in, keys and prompts out.
 *
 * One walk is one session, over as many connections as it takes: a line that breaks is replaced by itself. A walk may be used
 * by one thread at a time. After the first frames nothing is allocated for one more, but for a buffer that grows with the
 * largest message. It works with SGLang's realtime servers too; what those do not offer is absent.
 */
#ifndef CAUSEWAY_H
#define CAUSEWAY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct causeway_walk causeway_walk;

/* How a video begins. Strings are UTF-8 and end with 0; a NULL or a 0 leaves a field as the server has it. */
typedef struct causeway_options {
  const char *url;    /* ws://HOST:PORT/v1/realtime_video; must be there */
  const char *prompt; /* must be there; may be empty */
  const char *format; /* "jpeg", "webp" or "raw"; NULL: raw */
  uint32_t width;
  uint32_t height;    /* both, or neither */
  uint32_t fps;
  uint32_t paced;     /* 1: frames arrive no faster than they are shown */
  uint64_t seed;      /* used where has_seed is 1 */
  uint32_t has_seed;
  uint64_t max_chunks;
  const uint8_t *first_frame; /* a JPEG, PNG or WebP file, or NULL */
  size_t first_frame_size;
  const char *key;    /* where the server asks for one */
} causeway_options;

/* What a poll found. */
typedef enum causeway_kind {
  CAUSEWAY_NOTHING = 0,  /* nothing within the wait */
  CAUSEWAY_FRAME = 1,    /* `frame` */
  CAUSEWAY_RECEIPT = 2,  /* `event_id` is first shown by `chunk`; or was `superseded` before any chunk could show it */
  CAUSEWAY_WAITING = 3,  /* no place yet: `position` in the queue, 1 is next */
  CAUSEWAY_REFUSED = 4,  /* an event was not taken (`event_id`, where the server says it); causeway_error says why */
  CAUSEWAY_AWAY = 5,     /* the line broke, and the walk tries to come back */
  CAUSEWAY_BACK = 6,     /* the walk goes on */
  CAUSEWAY_COMPLETE = 7, /* the last chunk was sent; nothing comes after this */
  CAUSEWAY_ENDED = -1    /* the walk is over; causeway_error says why */
} causeway_kind;

typedef enum causeway_format { CAUSEWAY_RAW = 0, CAUSEWAY_JPEG = 1, CAUSEWAY_WEBP = 2, CAUSEWAY_OTHER = 3 } causeway_format;

/* One picture. `data` is good until the next call with this walk. Raw pictures are RGB8 rows from the top. */
typedef struct causeway_frame {
  const uint8_t *data;
  size_t size;
  uint32_t format; /* causeway_format */
  uint32_t width;
  uint32_t height;
  uint64_t chunk;
  uint64_t index;   /* its number in the video, from 0 */
  int64_t event_id; /* the largest id of the events that it shows; -1: none */
  int64_t pts_ms;   /* when it is due, from the first frame; -1: the server does not say */
} causeway_frame;

typedef struct causeway_news {
  causeway_frame frame;
  uint64_t chunk;
  int64_t event_id; /* -1: none */
  int64_t first_frame; /* the first video frame that shows the event; -1: the server does not say */
  uint32_t superseded;
  uint32_t position;
} causeway_news;

/* Connect and begin. NULL: it failed, and `error` (of `error_size` bytes, may be NULL) says why. Waits for the connection. */
causeway_walk *causeway_connect(const causeway_options *options, char *error, size_t error_size);

/* Watch the session that a token of its player stands for. `format` as in causeway_options; NULL: as the player gets it. Keys and
 * prompts are refused, but for what the player has handed over. A line that breaks is not replaced: watch again. */
causeway_walk *causeway_watch(const char *url, const char *token, const char *format, char *error, size_t error_size);

/* What came, waiting `wait_ms` at most; 0 does not wait. Gives a causeway_kind. */
int32_t causeway_poll_frame(causeway_walk *walk, uint32_t wait_ms, causeway_news *news);

/* From now on these keys are held: "wl" walks and turns right, "" lets go. Gives the event's id; 0: the text is not UTF-8. */
uint32_t causeway_send_controls(causeway_walk *walk, const char *keys);

/* Move at a part of what a held key does, each from -1 to 1: ahead, to the right, turning right, looking up. Only in worlds that
 * follow rates; elsewhere it is refused. Gives the event's id. */
uint32_t causeway_send_rates(causeway_walk *walk, double forward, double strafe, double yaw, double pitch);

/* Lead the camera: 16 numbers row by row that take a point of the world into the camera's axes (x right, y down, z forward). Only
 * in worlds that follow poses; elsewhere it is refused. Gives the event's id. */
uint32_t causeway_send_pose(causeway_walk *walk, const double camera_from_world[16]);

/* Draw what follows under another prompt. Gives the event's id; 0: the text is not UTF-8. */
uint32_t causeway_send_prompt(causeway_walk *walk, const char *prompt);

/* Begin another video in the same session. Of `beginning` count prompt, width and height, seed and first_frame; what is NULL or 0
 * is as it was, and a first_frame of no bytes begins without a picture. Only where the server offers it; elsewhere, and where
 * the video does not fit, it is refused and the walk goes on. Gives the event's id; 0: a text is not UTF-8. */
uint32_t causeway_reset(causeway_walk *walk, const causeway_options *beginning);

/* Why an event was refused or the walk ended, as text that is good until the next call with this walk. */
const char *causeway_error(const causeway_walk *walk);

/* How often the walk went on after a cut. */
uint32_t causeway_resumes(const causeway_walk *walk);

/* End the walk. NULL is allowed. */
void causeway_free(causeway_walk *walk);

#ifdef __cplusplus
}
#endif

#endif
