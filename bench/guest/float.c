/* The benches' floating-point work inside the guest: one static program, `float NAME [COUNT]`, of which each name is one
 * entry of the table. Results are printed, so that no compiler can leave them out and two machines can be seen to
 * agree. Constants and operands are such that no kernel ends in infinities or NaNs. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t seed = 88172645463325252u;

static uint64_t random_number(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

static double random_part(void)
{
	return (double)(random_number() >> 11) / 9007199254740992.0;
}

/* Five bodies that attract each other, as in work.c, in single precision. */
static void bodies32(int count)
{
	float x[5][3], v[5][3], m[5];
	for (int i = 0; i < 5; i++) {
		m[i] = 1.0f / (1 + i);
		for (int d = 0; d < 3; d++) {
			x[i][d] = (float)(random_number() % 1000) / 100;
			v[i][d] = (float)(random_number() % 1000) / 1000;
		}
	}
	while (count--) {
		for (int i = 0; i < 5; i++)
			for (int j = i + 1; j < 5; j++) {
				float apart[3], square = 0.01f;
				for (int d = 0; d < 3; d++) {
					apart[d] = x[i][d] - x[j][d];
					square += apart[d] * apart[d];
				}
				float pull = 0.001f / (square * sqrtf(square));
				for (int d = 0; d < 3; d++) {
					v[i][d] -= apart[d] * m[j] * pull;
					v[j][d] += apart[d] * m[i] * pull;
				}
			}
		for (int i = 0; i < 5; i++)
			for (int d = 0; d < 3; d++)
				x[i][d] += 0.001f * v[i][d];
	}
	printf("%.6f\n", x[0][0]);
}

static void mandelbrot(int count)
{
	enum { SIDE = 160, TURNS_MAX = 200 };
	long sum = 0;
	while (count--)
		for (int row = 0; row < SIDE; row++)
			for (int column = 0; column < SIDE; column++) {
				double cx = 3.0 * column / SIDE - 2.25, cy = 3.0 * row / SIDE - 1.5;
				double x = 0, y = 0;
				int turns = 0;
				while (turns < TURNS_MAX && x * x + y * y < 4) {
					double next = x * x - y * y + cx;
					y = 2 * x * y + cy;
					x = next;
					turns++;
				}
				sum += turns;
			}
	printf("%ld\n", sum);
}

/* A product of two matrices, row by column. */
#define MATMUL(NAME, REAL)                                                         \
	static void NAME(int count)                                                    \
	{                                                                              \
		enum { SIDE = 96 };                                                        \
		static REAL a[SIDE][SIDE], b[SIDE][SIDE], c[SIDE][SIDE];                   \
		for (int i = 0; i < SIDE; i++)                                             \
			for (int j = 0; j < SIDE; j++) {                                       \
				a[i][j] = random_part();                                           \
				b[i][j] = random_part() - 0.5;                                     \
			}                                                                      \
		while (count--) {                                                          \
			for (int i = 0; i < SIDE; i++)                                         \
				for (int j = 0; j < SIDE; j++) {                                   \
					REAL sum = 0;                                                  \
					for (int k = 0; k < SIDE; k++)                                 \
						sum += a[i][k] * b[k][j];                                  \
					c[i][j] = sum;                                                 \
				}                                                                  \
			a[count % SIDE][count % 7] = c[count % 5][count % SIDE] / 64;          \
		}                                                                          \
		printf("%.5f\n", (double)c[3][5]);                                         \
	}

MATMUL(matmul, double)
MATMUL(matmul32, float)

/* A fast Fourier transform of 1,024 complex numbers, to and fro. */
enum { POINTS = 1024 };
static double re[POINTS], im[POINTS], cosines[POINTS / 2], sines[POINTS / 2];

static void transform(double sign)
{
	for (int i = 1, j = 0; i < POINTS; i++) {
		int bit = POINTS >> 1;
		for (; j & bit; bit >>= 1)
			j ^= bit;
		j ^= bit;
		if (i < j) {
			double r = re[i], m = im[i];
			re[i] = re[j];
			im[i] = im[j];
			re[j] = r;
			im[j] = m;
		}
	}
	for (int length = 2; length <= POINTS; length *= 2) {
		int half = length / 2, step = POINTS / length;
		for (int start = 0; start < POINTS; start += length)
			for (int k = 0; k < half; k++) {
				double c = cosines[k * step], s = sign * sines[k * step];
				int low = start + k, high = low + half;
				double r = re[high] * c - im[high] * s, m = re[high] * s + im[high] * c;
				re[high] = re[low] - r;
				im[high] = im[low] - m;
				re[low] += r;
				im[low] += m;
			}
	}
}

static void fft(int count)
{
	for (int i = 0; i < POINTS; i++) {
		re[i] = random_part();
		im[i] = random_part();
	}
	for (int i = 0; i < POINTS / 2; i++) {
		cosines[i] = cos(2 * M_PI * i / POINTS);
		sines[i] = sin(2 * M_PI * i / POINTS);
	}
	while (count--) {
		transform(-1);
		transform(1);
		for (int i = 0; i < POINTS; i++) {
			re[i] /= POINTS;
			im[i] /= POINTS;
		}
	}
	printf("%.9f %.9f\n", re[3], im[5]);
}

/* Samples of sound: to floats and back, mixed, clamped, rounded down and to nearest, and counted by size. */
static void samples(int count)
{
	enum { SAMPLES = 4096 };
	static int16_t in[2][SAMPLES], out[SAMPLES];
	long sum = 0, large = 0;
	for (int i = 0; i < SAMPLES; i++) {
		in[0][i] = random_number();
		in[1][i] = random_number();
	}
	while (count--) {
		for (int i = 0; i < SAMPLES; i++) {
			float mixed = in[0][i] * 0.71f + in[1][i] * -0.62f;
			mixed = fmaxf(fminf(mixed, 32767.0f), -32768.0f);
			large += fabsf(mixed) > 20000.0f;
			out[i] = (int16_t)lrintf(mixed);
			sum += (int)floorf(mixed * 0.25f) + (unsigned)fabsf(mixed);
		}
		in[count & 1][count % SAMPLES] = out[count % SAMPLES];
	}
	printf("%ld %ld\n", sum, large);
}

/* The functions of the C library, which look tables up, take numbers apart and convert them. */
static void functions(int count)
{
	double sum = 0;
	float small = 0;
	while (count--) {
		double x = random_part() * 8 - 4;
		sum += exp(x) + sin(x) * cos(x) + log(x * x + 1) + pow(x * x + 0.5, 1.3) + floor(x * 100);
		small += expf((float)x) + sinf((float)x);
	}
	printf("%.9f %.4f\n", sum, small);
}

/* A random walk that asks where it is: comparisons and branches on what was computed a moment ago. */
static void branches(int count)
{
	double x = 0.5, y = 0.25;
	long inside = 0, turned = 0;
	while (count--) {
		double a = random_part(), b = random_part();
		if (a * a + b * b < 1)
			inside++;
		x += a - 0.5;
		y = y < x ? y + b : y - a;
		if (x > 10 || x < -10 || y > 10 || y < -10) {
			x = -x / 2;
			y = y / 3;
			turned++;
		}
	}
	printf("%ld %ld %.9f %.9f\n", inside, turned, x, y);
}

static const struct {
	const char *name;
	void (*run)(int);
	int count;
} entries[] = {
	{ "bodies32", bodies32, 1000000 }, { "mandelbrot", mandelbrot, 40 }, { "matmul", matmul, 400 },
	{ "matmul32", matmul32, 400 },     { "fft", fft, 3000 },              { "samples", samples, 2000 },
	{ "functions", functions, 1000000 }, { "branches", branches, 6000000 },
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
