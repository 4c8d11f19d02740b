"""Files for every room: atomic writes, locks, tensors in safetensors."""
