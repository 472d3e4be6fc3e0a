# MessagePack, both directions. Written in what Godot 3.2 and Godot 4 have in common, so that tests can run it in either.


# One value as bytes: null, booleans, numbers, text, arrays, dictionaries, and bytes.
static func encode(value):
	var out = StreamPeerBuffer.new()
	out.big_endian = true
	_put(out, value)
	return out.data_array


static func _put(out, value):
	if value == null:
		out.put_u8(0xc0)
	elif value is bool:
		out.put_u8(0xc3 if value else 0xc2)
	elif value is int:
		_put_int(out, value)
	elif value is float:
		out.put_u8(0xcb)
		out.put_double(value)
	elif value is String:
		var bytes = _utf8(value)
		_put_length(out, bytes.size(), 0xa0, 32, 0xd9, 0xda, 0xdb)
		out.put_data(bytes)
	elif value is Array:
		_put_length(out, value.size(), 0x90, 16, -1, 0xdc, 0xdd)
		for item in value:
			_put(out, item)
	elif value is Dictionary:
		_put_length(out, value.size(), 0x80, 16, -1, 0xde, 0xdf)
		for key in value:
			_put(out, key)
			_put(out, value[key])
	else:
		_put_length(out, value.size(), 0, 0, 0xc4, 0xc5, 0xc6)
		out.put_data(value)


static func _put_int(out, value):
	if value >= 0 and value < 0x80:
		out.put_u8(value)
	elif value < 0:
		out.put_u8(0xd3)
		out.put_64(value)
	elif value < 0x100:
		out.put_u8(0xcc)
		out.put_u8(value)
	elif value < 0x10000:
		out.put_u8(0xcd)
		out.put_u16(value)
	elif value < 0x100000000:
		out.put_u8(0xce)
		out.put_u32(value)
	else:
		out.put_u8(0xcf)
		out.put_u64(value)


# The shortest head for a length. `few`: lengths below this stand in the marker. -1: there is no form of one byte.
static func _put_length(out, length, marker, few, one, two, four):
	if length < few:
		out.put_u8(marker | length)
	elif one >= 0 and length < 0x100:
		out.put_u8(one)
		out.put_u8(length)
	elif length < 0x10000:
		out.put_u8(two)
		out.put_u16(length)
	else:
		out.put_u8(four)
		out.put_u32(length)


# Godot 3 and 4 have two names for it; a stream has one.
static func _utf8(text):
	var buffer = StreamPeerBuffer.new()
	buffer.put_utf8_string(text)
	buffer.seek(0)
	return buffer.get_data(buffer.get_u32())[1]


# The one value that these bytes are: [value], or [] where they are none.
static func decode(bytes):
	var input = StreamPeerBuffer.new()
	input.big_endian = true
	input.data_array = bytes
	var found = _read(input, 0)
	if found.size() == 1 and input.get_position() != bytes.size():
		return []
	return found


# [value], or [] where the bytes end early or are no MessagePack.
static func _read(input, depth):
	if depth > 64 or input.get_available_bytes() < 1:
		return []
	var marker = input.get_u8()
	if marker < 0x80:
		return [marker]
	if marker >= 0xe0:
		return [marker - 0x100]
	if marker < 0x90:
		return _read_map(input, marker & 0x0f, depth)
	if marker < 0xa0:
		return _read_list(input, marker & 0x0f, depth)
	if marker < 0xc0:
		return _read_text(input, marker & 0x1f)
	match marker:
		0xc0:
			return [null]
		0xc2:
			return [false]
		0xc3:
			return [true]
		0xca:
			return [input.get_float()] if input.get_available_bytes() >= 4 else []
		0xcb:
			return [input.get_double()] if input.get_available_bytes() >= 8 else []
		0xcc, 0xcd, 0xce, 0xcf:
			return _read_number(input, 1 << (marker - 0xcc), false)
		0xd0, 0xd1, 0xd2, 0xd3:
			return _read_number(input, 1 << (marker - 0xd0), true)
	var width = {0xc4: 1, 0xc5: 2, 0xc6: 4, 0xd9: 1, 0xda: 2, 0xdb: 4, 0xdc: 2, 0xdd: 4, 0xde: 2, 0xdf: 4}.get(marker)
	if width == null:
		return []
	var length = _read_number(input, width, false)
	if length.size() == 0:
		return []
	if marker <= 0xc6:
		return _read_bytes(input, length[0])
	if marker <= 0xdb:
		return _read_text(input, length[0])
	if marker <= 0xdd:
		return _read_list(input, length[0], depth)
	return _read_map(input, length[0], depth)


static func _read_number(input, width, is_signed):
	if input.get_available_bytes() < width:
		return []
	match width:
		1:
			return [input.get_8() if is_signed else input.get_u8()]
		2:
			return [input.get_16() if is_signed else input.get_u16()]
		4:
			return [input.get_32() if is_signed else input.get_u32()]
	return [input.get_64()]


static func _read_bytes(input, length):
	return [input.get_data(length)[1]] if input.get_available_bytes() >= length else []


static func _read_text(input, length):
	return [input.get_utf8_string(length) if length > 0 else ""] if input.get_available_bytes() >= length else []


static func _read_list(input, length, depth):
	var items = []
	# Every item takes a byte at least: a length that cannot be true is not believed.
	if length > input.get_available_bytes():
		return []
	for _i in range(length):
		var item = _read(input, depth + 1)
		if item.size() == 0:
			return []
		items.append(item[0])
	return [items]


static func _read_map(input, length, depth):
	var entries = {}
	if 2 * length > input.get_available_bytes():
		return []
	for _i in range(length):
		var key = _read(input, depth + 1)
		var value = _read(input, depth + 1) if key.size() == 1 else []
		if value.size() == 0:
			return []
		entries[key[0]] = value[0]
	return [entries]
