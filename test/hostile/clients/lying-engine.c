/*
 * lying-engine: takes the place of criu, and says what the file beside it says, which is called like it with `.says` behind.
 * Each line is a step: `receive`, `send HEX`, `stderr HEX`, `die`. It is a program and no script, because engines of users
 * without root are executed from a descriptor.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char packet[1 << 20], line[1 << 16];

static size_t from_hex(const char *hex, char *bytes)
{
	size_t length = 0;
	unsigned value;

	while (sscanf(hex + 2 * length, "%2x", &value) == 1)
		bytes[length++] = (char)value;
	return length;
}

int main(int argc, char **argv)
{
	char path[4096];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 8);
	FILE *says;

	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		printf("Version: 4.1\n");
		return 0;
	}
	if (length < 0)
		return 1;
	strcpy(path + length, ".says");
	says = fopen(path, "re");
	while (says && fgets(line, sizeof(line), says)) {
		if (strncmp(line, "receive", 7) == 0 && recv(3, packet, sizeof(packet), 0) <= 0)
			return 1;
		if (strncmp(line, "send ", 5) == 0)
			send(3, packet, from_hex(line + 5, packet), MSG_NOSIGNAL);
		if (strncmp(line, "stderr ", 7) == 0)
			write(2, packet, from_hex(line + 7, packet));
		if (strncmp(line, "die", 3) == 0)
			kill(getpid(), SIGKILL);
	}
	return says ? 0 : 1;
}
