# The parts without Godot 4's engine types, run by Godot 3.2 against a real server, a line that is cut, and a server that has
# none of our features. `clients/check.py` starts them and says where they are.
extends SceneTree

const MessagePack = preload("res://addons/causeway/messagepack.gd")
const Protocol = preload("res://addons/causeway/protocol.gd")
const LIMIT_MS = 30000

var failed = 0


func _init():
	values_come_back_as_they_went()
	what_is_no_messagepack_is_refused()
	var whole = walk("CAUSEWAY_URL", {}, [], 45)
	check("every frame came once and in order", indices(whole) == range(45))
	check("frames are due at their rate", whole["frames"][16]["pts_ms"] == 1000)
	var receipts = whole["receipts"]
	check("a receipt says which chunk shows W", receipts.size() == 1 and receipts[0]["chunk"] == shown(whole, 1))
	check("and which frame first", receipts[0]["first_frame"] != null)
	var cut = walk("CUT_URL", {}, [], 45)
	check("the line was cut", cut["protocol"].resumes > 0)
	check("every frame came once after a cut", indices(cut) == range(45))
	# Once there are frames: before them there is no video to leave.
	var again = walk("CAUSEWAY_URL", {}, [], 80, {"size": "64x48"})
	check("another video begins in the same walk", [64, 48, 0] in sizes_and_indices(again))
	var seen = walk("CAUSEWAY_URL", {"watch": OS.get_environment("VIEW_TOKEN")}, [], 20)
	check("a viewer is given frames", seen["frames"].size() == 20 and seen["frames"][0]["pts_ms"] != null)
	check("and steers nothing", seen["refused"].size() == 1 and "a viewer cannot" in seen["refused"][0])
	var nobody = walk("CAUSEWAY_URL", {"watch": "cwv_nobody"})
	check("a token that stands for nothing watches nothing", nobody["why"] != null and "token" in nobody["why"])
	var wrong = walk("CAUSEWAY_URL", {"fps": 1000})
	check("a mistake names its field: " + str(wrong["why"]), wrong["why"] != null and "fps" in wrong["why"])
	var reference = walk("REFERENCE_URL", {}, ["pause"], 69)
	check("every frame of a server without features", indices(reference) == range(69))
	check("no time where none is said", reference["frames"][0]["pts_ms"] == null)
	check("W is believed by the frames' ids", reference["receipts"].size() == 1)
	# Its red counts the keys held.
	check("W is in the picture", reference["frames"][68]["data"][0] == 40)
	check("what it does not know changes nothing", reference["refused"] == ["invalid event"])
	if failed == 0:
		print("passed")
	quit(failed)


func check(what, is_so):
	print("ok  " if is_so else "not ok  ", what)
	if not is_so:
		failed += 1


func values_come_back_as_they_went():
	for value in [null, true, false, 0, 127, 128, 65535, 65536, 4294967296, -1, -40000, 0.5, "", "w", "草地".repeat(20), [], [1, [2]],
			{"a": {"b": [null]}}, range(20)]:
		check("back as it went: " + str(value), [value] == MessagePack.decode(MessagePack.encode(value)) or hash(value) == hash(MessagePack.decode(MessagePack.encode(value))[0]))
	var bytes = PoolByteArray([1, 2, 255])
	check("bytes", MessagePack.decode(MessagePack.encode(bytes))[0] == bytes)


func what_is_no_messagepack_is_refused():
	for wrong in [[], [0x92, 1], [0xc4, 5, 1], [0xdf, 255, 255, 255, 255], [0xc1], [1, 1], [0xda, 0, 9]]:
		check("refused: " + str(wrong), MessagePack.decode(PoolByteArray(wrong)) == [])


func indices(walked):
	var all = []
	for frame in walked["frames"]:
		all.append(frame["index"])
	return all


func sizes_and_indices(walked):
	var all = []
	for frame in walked["frames"]:
		all.append([frame["width"], frame["height"], frame["index"]])
	return all


# The first chunk whose frames carry this event's id.
func shown(walked, event_id):
	for frame in walked["frames"]:
		if frame["event_id"] == event_id:
			return frame["chunk"]
	return -1


# Holds W, says `kinds`, begins anew with `beginning` once a frame has come, and walks until so many frames came, or to the end. Godot 3.2 loses packets that come together with a
# close, so a walk is not ended by the server where its last frames count.
func walk(variable, fields, kinds = [], frames = 1000, beginning = null):
	var protocol = Protocol.new()
	protocol.init = {"prompt": "a meadow", "size": "96x64", "fps": 16}
	for field in fields:
		protocol.init[field] = fields[field]
	if fields.has("watch"):
		protocol.init = {}
		protocol.watch = fields["watch"]
	var walked = {"protocol": protocol, "frames": [], "receipts": [], "refused": [], "why": null, "wanted": frames, "beginning": beginning}
	var held = protocol.hold(["w"])
	var until = OS.get_ticks_msec() + LIMIT_MS
	var to_send = [held]
	for kind in kinds:
		to_send.append(protocol.say(kind))
	while OS.get_ticks_msec() < until:
		var news = connection(OS.get_environment(variable), protocol, to_send, walked, until)
		to_send = []
		if news != "away":
			return walked
		OS.delay_msec(50)
	check("an end within the time", false)
	return walked


# One connection, to its end: whether another has to follow.
func connection(url, protocol, to_send, walked, until):
	var client = WebSocketClient.new()
	client.set_buffers(16384, 64, 1024, 64)
	client.connect("server_close_request", self, "_closing")
	closing = [1006, ""]
	client.connect_to_url(url)
	var begun = false
	while OS.get_ticks_msec() < until:
		client.poll()
		var connected = client.get_connection_status() == NetworkedMultiplayerPeer.CONNECTION_CONNECTED
		var peer = client.get_peer(1)
		if connected and not begun:
			begun = true
			peer.set_write_mode(WebSocketPeer.WRITE_MODE_BINARY)
			for message in [protocol.first_message()] + to_send:
				peer.put_packet(message)
		while begun and peer.get_available_packet_count() > 0:
			for news in protocol.receive(peer.get_packet()):
				var last = note(news, walked)
				if last == "ended" or walked["frames"].size() == walked["wanted"]:
					return "done"
				if last == "frame" and walked["beginning"] != null:
					peer.put_packet(protocol.reset(walked["beginning"]))
					walked["beginning"] = null
				if last == "back":
					for message in protocol.to_say_again():
						peer.put_packet(message)
		if begun and not connected:
			for news in protocol.closed(closing[0], closing[1]):
				if note(news, walked) != "away":
					return "done"
			return "away"
		OS.delay_msec(1)
	return "late"


var closing = []


func _closing(code, reason):
	closing = [code, reason]


func note(news, walked):
	match news["kind"]:
		"frame":
			walked["frames"].append(news)
		"receipt":
			walked["receipts"].append(news)
		"refused":
			walked["refused"].append(news["why"])
		"ended":
			walked["why"] = news["why"]
	return news["kind"]
