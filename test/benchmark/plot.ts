/** A picture of the times: ours beside CRIU's, on a logarithmic scale. */
import { BarChart } from 'echarts/charts';
import { GridComponent, LegendComponent, TitleComponent } from 'echarts/components';
import { init, use } from 'echarts/core';
import { SVGRenderer } from 'echarts/renderers';
import type { Results, Way } from './results.ts';
import { title } from './table.ts';

use([BarChart, GridComponent, LegendComponent, TitleComponent, SVGRenderer]);

const ways: readonly { readonly way: Way; readonly name: string; readonly color: string }[] = [
  { way: 'ours', name: 'criu-service', color: '#0b6e99' },
  { way: 'c', name: 'criu service', color: '#e09f3e' },
  { way: 'cli', name: 'criu command', color: '#b9b9b9' },
];

/** @returns an SVG document. */
export function plot({ works, machine }: Results): string {
  const compared = works.filter(({ unit, ways }) => unit === 'ms' && ways.c);
  const chart = init(null, null, {
    renderer: 'svg',
    ssr: true,
    width: 900,
    height: 120 + compared.length * 56,
  });
  chart.setOption({
    animation: false,
    backgroundColor: '#ffffff',
    title: {
      text: 'Milliseconds from request to answer: median, on a logarithmic scale',
      subtext: `${machine.processor}, ${machine.cores} cores, Linux ${machine.kernel}, CRIU ${machine.criu}, Node ${machine.node}`,
      left: 'center',
    },
    legend: { top: 60, itemGap: 32 },
    grid: { left: 140, right: 64, top: 96, bottom: 32 },
    // Bars begin at the left edge. By default they would begin at 1, and shorter times would extend to the left of it.
    xAxis: { type: 'log', min: 0.1, startValue: 0.1 },
    yAxis: { type: 'category', inverse: true, data: compared.map(({ work }) => title(work)) },
    series: ways.map(({ way, name, color }) => ({
      type: 'bar',
      name,
      color,
      data: compared.map(({ ways }) => ways[way]?.median ?? null),
      label: {
        show: true,
        position: 'right',
        fontSize: 10,
        formatter: ({ value }: { value: unknown }) => (typeof value === 'number' ? value.toPrecision(3) : ''),
      },
    })),
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}
