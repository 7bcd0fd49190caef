/* The benches' work inside the guest: one static program, `work NAME [COUNT]`, of which each name is one entry of the
 * table. Results are printed, so that no compiler can leave them out and two machines can be seen to agree. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <math.h>

static uint64_t seed = 88172645463325252u;

static uint64_t random_number(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

/* What CoreMark does, in our own words: linked lists, a matrix, a state machine, a CRC over their results. */

static uint16_t crc16(uint16_t value, uint16_t crc)
{
	for (int bit = 0; bit < 16; bit++) {
		int carry = (crc ^ value) & 1;
		value >>= 1;
		crc = carry ? (crc >> 1) ^ 0xa001 : crc >> 1;
	}
	return crc;
}

struct item {
	struct item *next;
	int16_t key, data;
};

static struct item items[200];

static struct item *reversed(struct item *list)
{
	struct item *done = 0;
	while (list) {
		struct item *next = list->next;
		list->next = done;
		done = list;
		list = next;
	}
	return done;
}

static struct item *merged(struct item *a, struct item *b)
{
	struct item head, *tail = &head;
	while (a && b) {
		struct item **less = a->key <= b->key ? &a : &b;
		tail->next = *less;
		tail = *less;
		*less = (*less)->next;
	}
	tail->next = a ? a : b;
	return head.next;
}

static struct item *sorted(struct item *list)
{
	if (!list || !list->next)
		return list;
	struct item *slow = list, *fast = list->next;
	while (fast && fast->next) {
		slow = slow->next;
		fast = fast->next->next;
	}
	struct item *half = slow->next;
	slow->next = 0;
	return merged(sorted(list), sorted(half));
}

static uint16_t lists(uint16_t crc, int round)
{
	for (int i = 0; i < 200; i++) {
		items[i].next = i + 1 < 200 ? &items[i + 1] : 0;
		items[i].key = (i * 7919 + round) & 0x3ff;
		items[i].data = i;
	}
	struct item *list = reversed(sorted(items));
	for (int want = 0; want < 40; want++) {
		struct item *item = list;
		while (item && (item->data & 0xff) != want)
			item = item->next;
		crc = crc16(item ? item->key : 0, crc);
	}
	return crc;
}

enum { SIDE = 24 };
static int16_t a[SIDE][SIDE], b[SIDE][SIDE];
static int32_t c[SIDE][SIDE];

static uint16_t matrices(uint16_t crc, int round)
{
	for (int i = 0; i < SIDE; i++)
		for (int j = 0; j < SIDE; j++) {
			a[i][j] = i * round + j;
			b[i][j] = i - j * round;
		}
	int32_t sum = 0;
	for (int i = 0; i < SIDE; i++)
		for (int j = 0; j < SIDE; j++) {
			int32_t cell = 0;
			for (int k = 0; k < SIDE; k++)
				cell += (int32_t)a[i][k] * b[k][j];
			c[i][j] = cell;
			sum += (cell >> 2 & 15) * (cell >> 5 & 127);
		}
	return crc16(sum, crc);
}

static const char text[] = "5012,1234,-874,+122,35.54400,.1234500,-110.700,+0.64400,5.500e+3,-.123e-2,T0.3e-1F,-T.T++Tq,1T3.4e4z";

static uint16_t states(uint16_t crc)
{
	enum { START, SIGN, INTEGER, FRACTION, EXPONENT, SCIENTIFIC, INVALID, STATES } state = START;
	int seen[STATES] = { 0 };
	for (const char *at = text; *at; at++) {
		int digit = *at >= '0' && *at <= '9';
		if (*at == ',') {
			seen[state]++;
			state = START;
			continue;
		}
		switch (state) {
		case START:
			state = digit ? INTEGER : *at == '+' || *at == '-' ? SIGN : *at == '.' ? FRACTION : INVALID;
			break;
		case SIGN:
			state = digit ? INTEGER : *at == '.' ? FRACTION : INVALID;
			break;
		case INTEGER:
			state = *at == '.' ? FRACTION : digit ? INTEGER : INVALID;
			break;
		case FRACTION:
			state = *at == 'e' ? EXPONENT : digit ? FRACTION : INVALID;
			break;
		case EXPONENT:
			state = *at == '+' || *at == '-' ? SCIENTIFIC : INVALID;
			break;
		case SCIENTIFIC:
			state = digit ? SCIENTIFIC : INVALID;
			break;
		default:
			break;
		}
	}
	for (int i = 0; i < STATES; i++)
		crc = crc16(seen[i], crc);
	return crc;
}

static void core(int count)
{
	uint16_t crc = 0;
	for (int i = 0; i < count; i++)
		crc = states(matrices(lists(crc, i & 15), i & 7));
	printf("%04x\n", crc);
}

static void sieve(int count)
{
	enum { LIMIT = 1 << 20 };
	static uint8_t composite[LIMIT];
	int primes = 0;
	while (count--) {
		memset(composite, 0, LIMIT);
		primes = 0;
		for (int i = 2; i < LIMIT; i++) {
			if (composite[i])
				continue;
			primes++;
			for (int j = 2 * i; j < LIMIT; j += i)
				composite[j] = 1;
		}
	}
	printf("%d\n", primes);
}

static int by_value(const void *x, const void *y)
{
	int p = *(const int *)x, q = *(const int *)y;
	return (p > q) - (p < q);
}

static void sort(int count)
{
	int *numbers = malloc(count * sizeof *numbers);
	for (int i = 0; i < count; i++)
		numbers[i] = random_number();
	qsort(numbers, count, sizeof *numbers, by_value);
	printf("%d\n", numbers[count / 2]);
}

static void chase(int count)
{
	enum { LINKS = 1 << 20 };
	uint64_t *links = malloc(LINKS * 2 * sizeof *links);
	for (int i = 0; i < LINKS; i++)
		links[2 * i] = i;
	for (int i = LINKS - 1; i > 0; i--) {
		int j = random_number() % i;
		uint64_t link = links[2 * i];
		links[2 * i] = links[2 * j];
		links[2 * j] = link;
	}
	uint64_t at = 0;
	while (count--)
		at = links[2 * at];
	printf("%llu\n", (unsigned long long)at);
}

static void stream(int count)
{
	enum { WORDS = 2 << 20 };
	uint64_t *words = malloc(WORDS * sizeof *words), sum = 0;
	for (int i = 0; i < WORDS; i++)
		words[i] = i;
	while (count--)
		for (int i = 0; i < WORDS; i++)
			sum += words[i];
	printf("%llu\n", (unsigned long long)sum);
}

static uint32_t rotated(uint32_t x, int by)
{
	return x >> by | x << (32 - by);
}

/* The compression function of SHA-256 with constants of our own making: the same work. */
static void hash(int count)
{
	static uint32_t k[64], h[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	for (int i = 0; i < 64; i++)
		k[i] = random_number();
	while (count--) {
		uint32_t w[64], s[8];
		for (int i = 0; i < 16; i++)
			w[i] = h[i & 7] + i * count;
		for (int i = 16; i < 64; i++) {
			uint32_t x = w[i - 15], y = w[i - 2];
			w[i] = w[i - 16] + (rotated(x, 7) ^ rotated(x, 18) ^ x >> 3) + w[i - 7]
				+ (rotated(y, 17) ^ rotated(y, 19) ^ y >> 10);
		}
		memcpy(s, h, sizeof s);
		for (int i = 0; i < 64; i++) {
			uint32_t e = s[4], g = s[0];
			uint32_t t = s[7] + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) + ((e & s[5]) ^ (~e & s[6])) + k[i] + w[i];
			uint32_t u = (rotated(g, 2) ^ rotated(g, 13) ^ rotated(g, 22)) + ((g & s[1]) ^ (g & s[2]) ^ (s[1] & s[2]));
			memmove(s + 1, s, 7 * sizeof *s);
			s[4] += t;
			s[0] = t + u;
		}
		for (int i = 0; i < 8; i++)
			h[i] += s[i];
	}
	printf("%08x\n", h[0]);
}

/* LZ77 with a hash table of last places, as the fast compressors do it. */
static void compress(int count)
{
	enum { SIZE = 1 << 20 };
	static uint8_t input[SIZE + 8];
	static uint32_t last[1 << 14];
	for (int i = 0; i < SIZE; i++)
		input[i] = "etaoin shrdlu"[random_number() % 13 * (random_number() % 8) / 7];
	unsigned literals = 0, matches = 0, matched = 0;
	while (count--) {
		memset(last, 0, sizeof last);
		for (unsigned i = 1; i < SIZE - 8;) {
			uint32_t four;
			memcpy(&four, input + i, 4);
			uint32_t *place = &last[four * 2654435761u >> 18];
			unsigned candidate = *place, length = 0;
			*place = i;
			while (length < 255 && i + length < SIZE && input[candidate + length] == input[i + length])
				length++;
			if (candidate && length >= 4) {
				matches++;
				matched += length;
				i += length;
			} else {
				literals++;
				i++;
			}
		}
	}
	printf("%u %u %u\n", literals, matches, matched);
}

static void bodies(int count)
{
	double x[5][3], v[5][3], m[5];
	for (int i = 0; i < 5; i++) {
		m[i] = 1.0 / (1 + i);
		for (int d = 0; d < 3; d++) {
			x[i][d] = (double)(random_number() % 1000) / 100;
			v[i][d] = (double)(random_number() % 1000) / 1000;
		}
	}
	while (count--) {
		for (int i = 0; i < 5; i++)
			for (int j = i + 1; j < 5; j++) {
				double apart[3], square = 0.01;
				for (int d = 0; d < 3; d++) {
					apart[d] = x[i][d] - x[j][d];
					square += apart[d] * apart[d];
				}
				double pull = 0.001 / (square * sqrt(square));
				for (int d = 0; d < 3; d++) {
					v[i][d] -= apart[d] * m[j] * pull;
					v[j][d] += apart[d] * m[i] * pull;
				}
			}
		for (int i = 0; i < 5; i++)
			for (int d = 0; d < 3; d++)
				x[i][d] += 0.001 * v[i][d];
	}
	printf("%.9f\n", x[0][0]);
}

static void calls(int count)
{
	long sum = 0;
	while (count--)
		sum += syscall(SYS_getppid);
	printf("%d\n", sum > 0);
}

static void forks(int count)
{
	while (count--) {
		if (!fork())
			_exit(0);
		wait(0);
	}
}

static void execs(int count)
{
	while (count--) {
		if (!fork()) {
			execl("/bin/busybox", "true", (char *)0);
			_exit(1);
		}
		wait(0);
	}
}

static void pingpong(int count)
{
	int to[2], from[2];
	char byte = 0;
	if (pipe(to) || pipe(from))
		exit(1);
	if (!fork()) {
		close(to[1]);
		while (read(to[0], &byte, 1) == 1 && write(from[1], &byte, 1) == 1)
			;
		_exit(0);
	}
	close(to[0]);
	while (count--)
		if (write(to[1], &byte, 1) != 1 || read(from[0], &byte, 1) != 1)
			exit(1);
	close(to[1]);
	wait(0);
}

/* Writes nearly all of the memory that is free, every word of it, `rounds` times; 0: for ever. With `bench.touch=MIB`
 * on the kernel's command line it is so much at most. No two pages are alike, and none can be compressed. bench/clone.py
 * has it run while the guest is copied. */
static void dirty(int rounds)
{
	long left = 0, most = 0;
	char line[4096], *word;
	FILE *meminfo = fopen("/proc/meminfo", "r"), *cmdline = fopen("/proc/cmdline", "r");
	while (meminfo && fgets(line, sizeof line, meminfo))
		sscanf(line, "MemAvailable: %ld", &left);
	if (cmdline && fgets(line, sizeof line, cmdline) && (word = strstr(line, "bench.touch=")))
		sscanf(word, "bench.touch=%ld", &most);
	size_t bytes = (size_t)left * 1024;
	/* Redis and the kernel go on needing some. */
	bytes = (bytes - bytes / 16 - (16u << 20)) & ~(size_t)4095;
	if (most && bytes > (size_t)most << 20)
		bytes = (size_t)most << 20;
	volatile uint64_t *memory = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		exit(1);
	uint64_t value = 1;
	for (int round = 0; !rounds || round < rounds; round++)
		for (size_t word = 0; word < bytes / 8; word++)
			memory[word] = value = value * 6364136223846793005u + 1442695040888963407u;
}

static const struct {
	const char *name;
	void (*run)(int);
	int count;
} entries[] = {
	{ "core", core, 12000 },       { "sieve", sieve, 20 },       { "sort", sort, 700000 },
	{ "chase", chase, 5000000 },  { "stream", stream, 40 },     { "hash", hash, 60000 },
	{ "compress", compress, 20 }, { "bodies", bodies, 400000 }, { "calls", calls, 500000 },
	{ "forks", forks, 600 },      { "execs", execs, 300 },      { "pingpong", pingpong, 40000 },
	{ "dirty", dirty, 0 },
};

int main(int argc, char **argv)
{
	for (unsigned i = 0; i < sizeof entries / sizeof *entries; i++)
		if (argc > 1 && !strcmp(argv[1], entries[i].name)) {
			entries[i].run(argc > 2 ? atoi(argv[2]) : entries[i].count);
			return 0;
		}
	for (unsigned i = 0; i < sizeof entries / sizeof *entries; i++)
		puts(entries[i].name);
	return argc > 1;
}
