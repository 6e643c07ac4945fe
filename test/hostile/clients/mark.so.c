/* mark.so: a library that leaves a file behind wherever it is loaded. */
#include <fcntl.h>
#include <stdlib.h>

__attribute__((constructor)) static void leave_a_mark(void)
{
	const char *mark = getenv("MARK");

	if (mark)
		open(mark, O_CREAT | O_WRONLY, 0666);
}
