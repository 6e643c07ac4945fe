import assert from 'node:assert/strict';
import { watchdogIntervalMs } from '../../../src/systemd/watchdog.ts';

describe('the watchdog', () => {
  it('sends two keep-alives in systemd’s timeout', () => {
    assert.equal(watchdogIntervalMs({ WATCHDOG_USEC: '60000000', WATCHDOG_PID: '7' }, 7), 30_000);
    assert.equal(watchdogIntervalMs({ WATCHDOG_USEC: '3000' }, 7), 1);
  });

  it('sends nothing if systemd expects nothing, or expects it from another process', () => {
    assert.equal(watchdogIntervalMs({}, 7), undefined);
    assert.equal(watchdogIntervalMs({ WATCHDOG_USEC: '0' }, 7), undefined);
    assert.equal(watchdogIntervalMs({ WATCHDOG_USEC: 'soon' }, 7), undefined);
    assert.equal(watchdogIntervalMs({ WATCHDOG_USEC: '60000000', WATCHDOG_PID: '8' }, 7), undefined);
  });
});
