"""Draws the progress of a job as SVG: progress.py SAMPLES EVENTS >FILE. Lines: seconds, and a number or a sentence."""
import sys
from html import escape

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 860, 420, 60, 130, 40


def lines(name):
    with open(name) as file:
        return [line.split(maxsplit=1) for line in file if len(line.split()) > 1]


samples = [(float(time), int(number)) for time, number in lines(sys.argv[1])]
events = [(float(time), text.strip()) for time, text in lines(sys.argv[2])]
begin, end = samples[0][0], samples[-1][0]
most = max(number for _, number in samples)


def x(time):
    return LEFT + (time - begin) / max(end - begin, 1) * (WIDTH - LEFT - 20)


def y(number):
    return HEIGHT - BOTTOM - number / most * (HEIGHT - TOP - BOTTOM)


print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">')
print(f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>')
print(f'<text x="{LEFT}" y="24" font-size="16">Steps of a job, over time</text>')
for row, (time, text) in enumerate(events):
    height = 44 + row % 4 * 20
    print(f'<line x1="{x(time):.1f}" x2="{x(time):.1f}" y1="{height}" y2="{HEIGHT - BOTTOM}" stroke="#c0392b" stroke-dasharray="4 3"/>')
    anchor = 'end' if x(time) > WIDTH * 0.7 else 'start'
    print(f'<text x="{x(time) + (-4 if anchor == "end" else 4):.1f}" y="{height + 4}" text-anchor="{anchor}" fill="#c0392b">{escape(text)}</text>')
points = ' '.join(f'{x(time):.1f},{y(number):.1f}' for time, number in samples)
print(f'<polyline points="{points}" fill="none" stroke="#2c5aa0" stroke-width="2"/>')
print(f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}" stroke="black"/>')
for number in (0, most):
    print(f'<text x="{LEFT - 8}" y="{y(number) + 4:.1f}" text-anchor="end">{number}</text>')
for part in range(5):
    time = begin + (end - begin) * part / 4
    print(f'<text x="{x(time):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{time - begin:.0f} s</text>')
print('</svg>')
