"""OpenAI's Python SDK against a Causeway server that serves the pocket world: lines 101 to 109 of the list in
docs/videos-conformance.md. OPENAI_BASE_URL says where the server is. Each check is named after the sentence it proves."""

import io
import struct
import time
import zlib

import openai

client = openai.OpenAI(max_retries=0)
MODEL = client.models.list().data[0].id


def png(width, height):
    """A picture of one colour."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = (b"\0" + bytes([40, 160, 90]) * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def film(**more):
    """A film of nine frames, drawn to its end."""
    asked = {"model": MODEL, "prompt": "a green meadow", "extra_body": {"num_frames": 9, **more.pop("extra_body", {})}}
    return client.videos.create_and_poll(**asked, **more)


def bytes_of(video, **more):
    return client.videos.download_content(video.id, **more).read()


def raises(kind, call):
    try:
        call()
    except kind as error:
        assert type(error) is kind, f"{type(error).__name__}: {error}"
        return error
    raise AssertionError(f"no {kind.__name__}")


def create_and_poll_returns_a_completed_video_and_obeys_the_server():
    made = client.videos.with_raw_response.create(model=MODEL, prompt="a green meadow", seconds="4")
    poll_ms = int(made.headers["openai-poll-after-ms"])
    assert 250 <= poll_ms <= 5000, poll_ms
    waited = []
    sleep, time.sleep = time.sleep, lambda seconds: (waited.append(seconds), sleep(seconds))[1]
    try:
        video = client.videos.poll(made.parse().id)
    finally:
        time.sleep = sleep
    assert (video.status, video.progress, video.size) == ("completed", 100, client_size()), video
    assert all(0.25 <= seconds <= 5 for seconds in waited), waited
    client.videos.delete(video.id)


def client_size():
    return client.models.list().data[0].model_extra["causeway"]["default_size"]


def a_list_pages_by_itself():
    ids = [film().id for _ in range(25)]
    listed = [video.id for video in client.videos.list(limit=10)]
    assert listed[: len(ids)] == ids[::-1], "newest first, each once"
    assert [video.id for video in client.videos.list(limit=7, order="asc")] == listed[::-1]
    for video in ids:
        client.videos.delete(video)


def a_deleted_video_says_so_and_is_gone():
    video = film()
    assert client.videos.delete(video.id).deleted is True
    raises(openai.NotFoundError, lambda: client.videos.retrieve(video.id))


def a_downloaded_video_begins_with_an_ftyp_box():
    video = film()
    assert bytes_of(video)[4:8] == b"ftyp"
    assert bytes_of(video, variant="video") == bytes_of(video)
    assert bytes_of(video, variant="thumbnail")[8:12] == b"WEBP"


def nested_extra_params_have_effect():
    still = film(extra_body={"seed": 7})
    walk = film(extra_body={"seed": 7, "extra_params": {"camera_actions": "w*3"}})
    same = film(extra_body={"seed": 7, "camera_actions": "w*3"})
    assert bytes_of(walk) == bytes_of(same) != bytes_of(still)


def pictures_come_as_base64_and_errors_as_the_sdks_own():
    picture = client.images.generate(model=MODEL, prompt="a green meadow")
    assert picture.data[0].b64_json and picture.data[0].url is None
    raises(openai.BadRequestError, lambda: client.videos.create(model=MODEL, prompt="a", size="64x60"))
    raises(openai.NotFoundError, lambda: client.videos.retrieve("nothing"))
    raises(openai.UnprocessableEntityError, lambda: client.videos.create(model=MODEL, prompt="a", extra_body={"fps": "fast"}))
    queued = []
    try:
        error = raises(openai.RateLimitError, lambda: [queued.append(long_film()) for _ in range(30)])
        assert int(error.response.headers["retry-after"]) > 0
    finally:
        for video in queued:
            client.videos.delete(video.id)


def long_film():
    return client.videos.create(model=MODEL, prompt="a green meadow", extra_body={"seconds": 30})


def a_film_can_start_from_a_picture():
    from_text = film(extra_body={"seed": 7})
    from_picture = film(extra_body={"seed": 7}, input_reference=("a.png", io.BytesIO(png(96, 64)), "image/png"))
    assert bytes_of(from_picture) != bytes_of(from_text)


def a_remix_is_the_same_walk_in_another_world():
    video = film(extra_body={"seed": 7, "camera_actions": "w*3"})
    remix = client.videos.poll(client.videos.remix(video.id, prompt="a sandy desert").id)
    assert (remix.status, remix.remixed_from_video_id) == ("completed", video.id), remix
    direct = client.videos.create_and_poll(
        model=MODEL, prompt="a sandy desert", extra_body={"num_frames": 9, "seed": 7, "camera_actions": "w*3"}
    )
    assert bytes_of(remix) == bytes_of(direct)


def a_model_that_is_not_there_is_not_found():
    assert client.models.retrieve(MODEL).id == MODEL
    raises(openai.NotFoundError, lambda: client.models.retrieve("no-such-model"))


CHECKS = [
    (101, create_and_poll_returns_a_completed_video_and_obeys_the_server),
    (102, a_list_pages_by_itself),
    (103, a_deleted_video_says_so_and_is_gone),
    (104, a_downloaded_video_begins_with_an_ftyp_box),
    (105, nested_extra_params_have_effect),
    (106, pictures_come_as_base64_and_errors_as_the_sdks_own),
    (107, a_film_can_start_from_a_picture),
    (108, a_remix_is_the_same_walk_in_another_world),
    (109, a_model_that_is_not_there_is_not_found),
]

for number, check in CHECKS:
    check()
    print(f"ok  {number} {check.__name__.replace('_', ' ')}")
