/** A picture of the time that a program stands still, and of what is written. */
import { BarChart } from 'echarts/charts';
import { GridComponent, LegendComponent, TitleComponent } from 'echarts/components';
import { init, use } from 'echarts/core';
import { SVGRenderer } from 'echarts/renderers';
import { type LiveResults, type Row, rowsOf } from './results.ts';

use([BarChart, GridComponent, LegendComponent, TitleComponent, SVGRenderer]);

const ways = [
  { way: 'alice', name: 'criuctl, a user without root', color: '#0b6e99' },
  { way: 'command', name: 'criu command, root', color: '#b9b9b9' },
] as const;

function title({ kind, megabytes, percent }: Row): string {
  const size = megabytes < 1024 ? `${megabytes} MB` : `${megabytes / 1024} GB`;
  if (kind === 'full') return `${size}, full`;
  return `${size}, ${kind}, ${percent} %${kind === 'live' ? ' a second' : ''}`;
}

/** @returns an SVG document. */
export function plotLive({ samples, machine }: LiveResults): string {
  const rows = rowsOf(samples).filter(({ frozenMs, kind }) => frozenMs !== undefined && kind !== 'pre-dump');
  const works = [...new Set(rows.map(title))];
  const grids = [
    { text: 'frozen, milliseconds', left: 200, value: ({ frozenMs }: Row) => frozenMs },
    { text: 'written, MiB', left: 660, value: ({ bytes = 0 }: Row) => bytes / 2 ** 20 },
  ];
  const chart = init(null, null, {
    renderer: 'svg',
    ssr: true,
    width: 1080,
    height: 140 + works.length * 40,
  });
  chart.setOption({
    animation: false,
    backgroundColor: '#ffffff',
    title: [
      {
        text: 'Checkpoints of a program that changes a part of its memory: median, on logarithmic scales',
        subtext: `${machine.processor}, ${machine.cores} cores, Linux ${machine.kernel}, CRIU ${machine.criu}, Node ${machine.node}`,
        left: 'center',
      },
      ...grids.map(({ text, left }) => ({ text, left, top: 92, textStyle: { fontSize: 13 } })),
    ],
    legend: { top: 60, itemGap: 32 },
    grid: grids.map(({ left }) => ({ left, width: 360, top: 116, bottom: 32 })),
    xAxis: grids.map((_, gridIndex) => ({ gridIndex, type: 'log', min: 0.01, startValue: 0.01 })),
    yAxis: grids.map((_, gridIndex) => ({
      gridIndex,
      type: 'category',
      inverse: true,
      data: works,
      axisLabel: { show: gridIndex === 0 },
    })),
    series: grids.flatMap(({ value }, at) =>
      ways.map(({ way, name, color }) => ({
        type: 'bar',
        name,
        color,
        xAxisIndex: at,
        yAxisIndex: at,
        data: works.map((work) => {
          const row = rows.find((each) => each.way === way && title(each) === work);
          return (row && value(row)) ?? null;
        }),
        label: {
          show: true,
          position: 'right',
          fontSize: 10,
          formatter: ({ value: shown }: { value: unknown }) =>
            typeof shown === 'number' ? shown.toPrecision(3) : '',
        },
      })),
    ),
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}
