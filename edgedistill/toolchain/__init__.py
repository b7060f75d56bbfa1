"""What is needed beside Python packages: llama.cpp's converter, from the same source as the installed binding."""
