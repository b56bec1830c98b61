# An AnimatedSprite2D with an animation of each part of a creature, for Godot 4. Image and JSON file are in its folder.
extends AnimatedSprite2D

func _ready() -> void:
	var folder: String = get_script().resource_path.get_base_dir()
	var sheet: Texture2D = load(folder.path_join("creature.png"))
	var frames: Array = load(folder.path_join("creature.json")).data["frames"]
	sprite_frames = SpriteFrames.new()
	for entry in frames:
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
	play(frames[0]["filename"].trim_suffix(".png"))
