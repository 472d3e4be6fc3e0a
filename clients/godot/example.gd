# On a TextureRect of a Godot 4 scene. Not run by the tests, which have Godot 3.2 alone.
extends TextureRect

var world := CausewayWorld.new()


func _ready() -> void:
	add_child(world)
	texture = world.texture


func _unhandled_key_input(_event: InputEvent) -> void:
	var keys := ["w", "a", "s", "d"].filter(func(key): return Input.is_physical_key_pressed(OS.find_keycode_from_string(key)))
	world.hold(keys)
