import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AnswerFile } from '../../../src/engine/answer-file.ts';
import { KeptAnswers } from '../../../src/engine/kept-answers.ts';
import { encodeRequest } from '../../../src/protocol/codec.ts';
import { ReqType } from '../../../src/protocol/messages.ts';

const version = encodeRequest({ type: ReqType.VERSION });
// Every byte value: an answer may hold any.
const said = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));

describe('answers that are kept while no service runs', () => {
  let directory: string;
  let file: string;
  let criu: string;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'criu-answers-'));
    file = join(directory, 'answers.json');
    criu = join(directory, 'criu');
    writeFileSync(criu, 'one', { mode: 0o755 });
  });

  afterEach(() => rmSync(directory, { recursive: true }));

  const start = (): KeptAnswers => new KeptAnswers({ criu }, new AnswerFile(directory));
  const answerTo = (answers: KeptAnswers, bytes: Uint8Array = version, type = ReqType.VERSION) =>
    answers.question(type, bytes)?.answer;
  const keep = (answers: KeptAnswers): void => answers.question(ReqType.VERSION, version)!.keep(said);

  it('are those of the previous start, byte for byte, in a file that only root can read', () => {
    assert.equal(answerTo(start()), undefined);
    keep(start());
    assert.deepEqual(answerTo(start()), said);
    assert.equal(statSync(file).mode & 0o777, 0o600);
    const features = encodeRequest({ type: ReqType.FEATURE_CHECK, features: {} });
    assert.equal(answerTo(start(), features, ReqType.FEATURE_CHECK), undefined);
  });

  it('belong to a single engine', () => {
    keep(start());
    writeFileSync(criu, 'two');
    assert.equal(answerTo(start()), undefined);
    // The other engine's answer takes its place.
    keep(start());
    assert.deepEqual(answerTo(start()), said);
  });

  it('are dropped together with the answers in memory', () => {
    const answers = start();
    keep(answers);
    answers.drop();
    assert.equal(answerTo(answers), undefined);
    assert.equal(answerTo(start()), undefined);
  });

  it('exclude the answer of an engine that was asked before they were dropped', () => {
    const answers = start();
    const question = answers.question(ReqType.VERSION, version)!;
    answers.drop();
    question.keep(said);
    assert.equal(answerTo(answers), undefined);
    assert.equal(answerTo(start()), undefined);
  });

  it('are not read again after they were dropped', () => {
    const answers = start();
    keep(answers);
    const kept = readFileSync(file);
    answers.drop();
    writeFileSync(file, kept);
    assert.equal(answerTo(answers), undefined);
  });

  it('are ignored if the file was not written by this service', () => {
    for (const text of ['', '{', 'null', '[]', '{"identity":1}', '{"identity":"x","answers":7}']) {
      writeFileSync(file, text);
      assert.equal(answerTo(start()), undefined, text);
    }
  });

  it('are kept in memory if no file can be written', () => {
    rmSync(directory, { recursive: true });
    const answers = new KeptAnswers({ criu: '/bin/sh' }, new AnswerFile(directory));
    keep(answers);
    assert.deepEqual(answerTo(answers), said);
    answers.drop();
    assert.equal(answerTo(answers), undefined);
    // This directory is removed after the test.
    directory = mkdtempSync(join(tmpdir(), 'criu-answers-'));
  });
});
