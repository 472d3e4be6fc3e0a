# What a walk says and what it understands, over as many connections as it takes. It knows no socket and no picture, and is
# written in what Godot 3.2 and Godot 4 have in common, so that tests can run it in either.
#
# Give it every message (`receive`) and the end of each connection (`closed`); send what `first_message`, `hold` and the others
# return. News are dictionaries with a `kind`:
#   frame: data, content_type, width, height, chunk, index, event_id (null before the first), pts_ms (null if not said)
#   receipt: event_id, chunk, superseded, first_frame (null if not said)    waiting: position    refused: event_id, why    back    away    complete    ended: why

const MessagePack = preload("res://addons/causeway/messagepack.gd")

const RAW = "application/x-raw-rgb"
const NO_PONG = "keepalive ping timeout"
const FEATURES = ["queue", "session", "ack", "timing", "pause", "reset", "rates", "poses", "intrinsics", "receipts"]
const OUTSTANDING_MAX = 256

# Fields of the init beside its type, by their names on the wire.
var init = {}
# The token of a session to watch, in place of an init. A viewer's line that breaks is not replaced: watch again.
var watch = ""
var resumes = 0
# How long the server waits for a client whose line was cut.
var grace_ms = 0

var _token = null
var _returning = false
var _header = null
var _acks = false
var _receipts = false
var _fps = 0
var _last_id = 0
var _seen = 0
var _outstanding = []
var _held = null
var _prompted = null
var _whole = null
var _frames = 0
# The chunk that is arriving: its number, frames of it that came over this connection, and that were given out.
var _chunk = -1
var _came = 0
var _given = 0


# What a new connection begins with.
func first_message():
	_header = null
	_came = 0
	if _token != null:
		var resume = {"type": "resume", "token": _token, "last_chunk": _whole}
		if init.has("api_key"):
			resume["api_key"] = init["api_key"]
		return MessagePack.encode(resume)
	var first = {"type": "init", "protocol_features": FEATURES}
	if watch != "":
		first = {"type": "watch", "token": watch}
	for field in init:
		first[field] = init[field]
	return MessagePack.encode(first)


# The id that the next event gets.
func next_id():
	return _last_id + 1


# From now on these keys are held: ["w", "l"] walks and turns right, [] lets go.
func hold(keys):
	_held = _event("camera_actions", {"mode": "state", "transitions": [{"actions": keys}]})
	return _held["bytes"]


# Move at a part of what a held key does, each from -1 to 1. Only in worlds that follow rates.
func rates(forward, strafe, yaw, pitch):
	return _led({"rates": {"forward": forward, "strafe": strafe, "yaw": yaw, "pitch": pitch}})


# Lead the camera: 16 numbers row by row that take a point of the world into the camera's axes (x right, y down, z forward).
# Only in worlds that follow poses.
func pose(camera_from_world):
	return _led({"pose": camera_from_world})


func _led(transition):
	_held = _event("camera_actions", {"mode": "state", "transitions": [transition]})
	return _held["bytes"]


# Draw what follows under another prompt.
func prompt(text):
	_prompted = _event("prompt", text)
	return _prompted["bytes"]


# Begin another video in the same session: with `prompt`, `seed`, `size` or `first_frame`, or as the one before. Only for a server
# that offers it; what does not fit is refused, and the walk goes on.
func reset(beginning):
	_last_id += 1
	return MessagePack.encode({"type": "event", "kind": "reset", "event_id": _last_id, "payload": beginning})


# Draw no more ("pause"), go on ("resume"), keep the place in the queue ("wait").
func say(kind):
	return MessagePack.encode({"type": "event", "kind": kind})


func _event(kind, payload):
	_last_id += 1
	if _outstanding.size() == OUTSTANDING_MAX:
		_outstanding.pop_front()
	_outstanding.append(_last_id)
	var event = {"type": "event", "kind": kind, "event_id": _last_id, "payload": payload}
	return {"id": _last_id, "bytes": MessagePack.encode(event)}


# What steered last and may have been lost with the line: to be sent after `back`.
func to_say_again():
	var again = []
	for event in [_held, _prompted]:
		if event != null and event["id"] > _seen:
			again.append(event["bytes"])
	return again


# A connection ended. 1006 stands for a line that broke.
func closed(code, reason):
	if code == 1000 and reason == "generation complete":
		return [{"kind": "complete"}]
	var broke = code in [-1, 1001, 1005, 1006] or reason == NO_PONG
	if _token == null or not broke:
		return [{"kind": "ended", "why": "closed with %d: %s" % [code, reason]}]
	if _returning:
		return []
	_returning = true
	return [{"kind": "away"}]


# A message came: the news in it.
func receive(bytes):
	if _header != null:
		var header = _header
		_header = null
		return _pictures(header, bytes)
	var found = MessagePack.decode(bytes)
	if found.size() == 0 or not (found[0] is Dictionary):
		return [{"kind": "ended", "why": "a message that cannot be read"}]
	var message = found[0]
	match message.get("type"):
		"frame_batch_header":
			_header = message
		"frame_batch":
			return _pictures(message, message.get("payload"))
		"session":
			_token = message["resume_token"]
			grace_ms = message["grace_ms"]
			if _returning:
				_returning = false
				resumes += 1
				return [{"kind": "back"}]
		"init_ack":
			_receipts = message.get("features", []).has("receipts")
			_acks = _receipts or message.get("features", []).has("ack")
			_fps = message.get("fps", 0)
		"watching":
			_fps = message.get("fps", 0)
		"event_ack":
			# A server with receipts says each twice, the second time with its frame.
			return [] if _receipts else _applied(message)
		"event_applied":
			return _applied(message)
		"queue":
			return [{"kind": "waiting", "position": message["position"]}]
		"error":
			return _refused(message)
	return []


func _refused(message):
	var why = str(message.get("content", ""))
	var details = message.get("details")
	if details is Dictionary:
		why += " (%s: %s)" % [details.get("field"), details.get("reason")]
	var id = message.get("event_id")
	if id == null and message.get("content") != "invalid event":
		return [{"kind": "ended", "why": why}]
	_outstanding.erase(id)
	return [{"kind": "refused", "event_id": id, "why": why}]


func _applied(message):
	var receipts = []
	for first in message.get("applied", []):
		var with_frame = first is Dictionary
		var id = first["event_id"] if with_frame else first
		receipts += _settle(id, message["chunk_index"], false, first["first_frame_index"] if with_frame else null)
	for id in message.get("superseded", []):
		receipts += _settle(id, message["chunk_index"], true)
	return receipts


func _settle(id, chunk, superseded, first_frame = null):
	_seen = max(_seen, id)
	# A chunk that comes again is acknowledged again.
	if not _outstanding.has(id):
		return []
	_outstanding.erase(id)
	return [{"kind": "receipt", "event_id": id, "chunk": chunk, "superseded": superseded, "first_frame": first_frame}]


func _pictures(header, payload):
	var chunk = header["chunk_index"]
	var count = header["num_frames"]
	var lengths = header.get("payload_lengths")
	if lengths == null:
		lengths = []
		for _i in range(count):
			lengths.append(3 * header["width"] * header["height"])
	var total = 0
	for length in lengths:
		total += length
	if payload == null or payload.size() != total or lengths.size() != count:
		return [{"kind": "ended", "why": "a payload that is not as long as its header says"}]
	if chunk != _chunk:
		_chunk = chunk
		_came = 0
		_given = 0
	var news = []
	var id = header.get("event_id")
	# All who steer share one count of events.
	_last_id = max(_last_id, 0 if id == null else id)
	if not _acks and id != null:
		while _outstanding.size() > 0 and _outstanding[0] <= id:
			news += _settle(_outstanding[0], chunk, false)
	var first = header.get("first_frame_index")
	var stream = StreamPeerBuffer.new()
	stream.data_array = payload
	for i in range(count):
		var data = stream.get_data(lengths[i])[1]
		_came += 1
		# A chunk that was cut comes again from its beginning: some of it was given out before.
		if _came <= _given:
			continue
		_given = _came
		var index = _frames if first == null else first + i
		_frames = index + 1
		news.append({
			"kind": "frame",
			"data": data,
			"content_type": header["content_type"],
			"width": header["width"],
			"height": header["height"],
			"chunk": chunk,
			"index": index,
			"event_id": id,
			"pts_ms": index * 1000 / _fps if _fps > 0 and header.get("pts_ms") != null else null,
		})
	if header.get("is_final_frame_batch"):
		_whole = chunk
	return news
