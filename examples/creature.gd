# An AnimatedSprite2D with an animation of each part of a creature, for Godot 4.
extends AnimatedSprite2D

func _ready() -> void:
	var sheet: Texture2D = load("res://creature.png")
	sprite_frames = SpriteFrames.new()
	for entry in load("res://creature.json").data["frames"]:
		var part: String = entry["filename"].trim_suffix(".png").trim_suffix("-idle")
		if not sprite_frames.has_animation(part):
			sprite_frames.add_animation(part)
			sprite_frames.set_animation_speed(part, 2.5)
		var cell: Dictionary = entry["frame"]
		var texture := AtlasTexture.new()
		texture.atlas = sheet
		texture.region = Rect2(cell["x"], cell["y"], cell["w"], cell["h"])
		sprite_frames.add_frame(part, texture)
	texture_filter = TEXTURE_FILTER_NEAREST
	play("1-front")
