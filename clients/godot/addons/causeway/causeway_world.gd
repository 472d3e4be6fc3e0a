# A world as a texture, for Godot 4: put this node into a scene, set `url` and `prompt`, and show `texture`, in a TextureRect or
# on a material. Keys are held with `hold`.
#
# This script uses Godot 4's engine types and was not run by the tests, which have Godot 3.2 alone; `protocol.gd` and
# `messagepack.gd` beside it were.
class_name CausewayWorld
extends Node

const Protocol = preload("res://addons/causeway/protocol.gd")

const RETURN_EVERY_S = 0.25
const STILL_EVERY_S = 20.0

## A picture of the video is in `texture`.
signal frame_shown(chunk: int, index: int, event_id: int)
## What became of an event: the first chunk that shows it, or that another event replaced it.
signal receipt(event_id: int, chunk: int, superseded: bool)
## There is no place yet; 1 is the next.
signal waiting(position: int)
## An event was not taken; the walk goes on.
signal refused(event_id: int, why: String)
## The walk is over; empty after the last chunk.
signal ended(why: String)

@export var url := "ws://127.0.0.1:30000/v1/realtime_video"
@export_multiline var prompt := "a meadow"
## The token of a session to watch, in place of a walk of one's own.
@export var watch := ""
## Frames a second at which pictures are shown.
@export var fps := 16
@export var autostart := true

var texture := ImageTexture.new()

var _protocol
var _socket: WebSocketPeer
var _queue: Array = []
var _shown_for := 0.0
var _said_hello := false
var _return_in := -1.0
var _lost_for := 0.0
var _still_in := -1.0


func _ready() -> void:
	if autostart:
		start()


func start() -> void:
	_protocol = Protocol.new()
	_protocol.init = {
		"prompt": prompt, "fps": fps, "realtime_output_pacing": true, "realtime_output_format": "jpeg", "output_compression": 92,
	}
	if watch != "":
		_protocol.watch = watch
		_protocol.init = {"realtime_output_format": "jpeg", "output_compression": 92}
	_queue.clear()
	_connect()


func stop() -> void:
	if _socket != null:
		_socket.close()
	_socket = null
	_return_in = -1.0


## From now on these keys are held. Gives the event's id.
func hold(keys: Array) -> int:
	_send(_protocol.hold(keys))
	return _protocol.next_id() - 1


## The camera of the scene leads that of the world, whose own was at the origin, looking along -z, when the video began. Only in
## worlds that follow poses. Gives the event's id.
func lead(camera: Transform3D) -> int:
	# Godot looks along -z with y up; the wire's camera along z with y down.
	var flip := Basis(Vector3(1, 0, 0), Vector3(0, -1, 0), Vector3(0, 0, -1))
	var world_from_camera := Transform3D(flip * camera.basis.orthonormalized() * flip, flip * camera.origin)
	var pose := world_from_camera.inverse()
	var b := pose.basis
	_send(_protocol.pose([
		b.x.x, b.y.x, b.z.x, pose.origin.x,
		b.x.y, b.y.y, b.z.y, pose.origin.y,
		b.x.z, b.y.z, b.z.z, pose.origin.z,
		0.0, 0.0, 0.0, 1.0,
	]))
	return _protocol.next_id() - 1


## Draw what follows under another prompt. Gives the event's id.
func change_prompt(text: String) -> int:
	_send(_protocol.prompt(text))
	return _protocol.next_id() - 1


## Begin another video in the same session, with `prompt`, `seed` or `size` ("96x64"), or as the one before. Gives the event's id.
func reset(beginning: Dictionary = {}) -> int:
	_send(_protocol.reset(beginning))
	return _protocol.next_id() - 1


func _connect() -> void:
	_socket = WebSocketPeer.new()
	_socket.inbound_buffer_size = 1 << 24
	_said_hello = false
	var error := _socket.connect_to_url(url)
	if error != OK:
		_socket = null
		ended.emit("no connection to %s: error %d" % [url, error])


func _send(message: PackedByteArray) -> void:
	if _socket != null and _socket.get_ready_state() == WebSocketPeer.STATE_OPEN:
		_socket.send(message)


func _process(delta: float) -> void:
	if _return_in >= 0.0:
		_return_in -= delta
		_lost_for += delta
		if _return_in < 0.0:
			_connect()
	if _still_in >= 0.0:
		_still_in -= delta
		if _still_in < 0.0:
			_still_in = STILL_EVERY_S
			_send(_protocol.say("wait"))
	if _socket != null:
		_read()
	_show(delta)


func _read() -> void:
	_socket.poll()
	var state := _socket.get_ready_state()
	if state == WebSocketPeer.STATE_OPEN and not _said_hello:
		_said_hello = true
		_send(_protocol.first_message())
	while _socket != null and _socket.get_available_packet_count() > 0:
		_hear(_protocol.receive(_socket.get_packet()))
	if state == WebSocketPeer.STATE_CLOSED and _socket != null:
		var closed: WebSocketPeer = _socket
		_socket = null
		_hear(_protocol.closed(closed.get_close_code(), closed.get_close_reason()))
		if _return_in < 0.0 and _lost_for > 0.0:
			_try_again()


func _hear(all_news: Array) -> void:
	for news in all_news:
		match news["kind"]:
			"frame":
				_still_in = -1.0
				_queue.append(news)
			"receipt":
				receipt.emit(news["event_id"], news["chunk"], news["superseded"])
			"waiting":
				if _still_in < 0.0:
					_still_in = STILL_EVERY_S
				waiting.emit(news["position"])
			"refused":
				refused.emit(-1 if news["event_id"] == null else news["event_id"], news["why"])
			"away":
				_lost_for = 0.001
				_try_again()
			"back":
				_lost_for = 0.0
				for message in _protocol.to_say_again():
					_send(message)
			"complete":
				ended.emit("")
			"ended":
				stop()
				ended.emit(news["why"])


func _try_again() -> void:
	if _lost_for * 1000.0 > _protocol.grace_ms:
		ended.emit("the line broke, and the server could not be reached again in time")
		_lost_for = 0.0
		return
	_return_in = RETURN_EVERY_S


func _show(delta: float) -> void:
	_shown_for += delta
	if _queue.is_empty() or _shown_for < 1.0 / fps:
		return
	_shown_for = fmod(_shown_for, 1.0 / fps)
	var frame: Dictionary = _queue.pop_front()
	var image := Image.new()
	if frame["content_type"] == "image/jpeg":
		image.load_jpg_from_buffer(frame["data"])
	elif frame["content_type"] == "image/webp":
		image.load_webp_from_buffer(frame["data"])
	else:
		image.set_data(frame["width"], frame["height"], false, Image.FORMAT_RGB8, frame["data"])
	if texture.get_size() == Vector2(image.get_size()):
		texture.update(image)
	else:
		texture.set_image(image)
	frame_shown.emit(frame["chunk"], frame["index"], -1 if frame["event_id"] == null else frame["event_id"])
