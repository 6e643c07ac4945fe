/** JSON whose text no terminal takes for a command: JSON itself leaves some control and formatting characters as they are. */

const unprintable = /[\x7f-\x9f\p{Cf}\p{Zl}\p{Zp}]/gu;

/** Escapes them, in a text that is JSON; outside of strings JSON has none. */
export function escapeUnprintable(json: string): string {
  return json.replace(unprintable, (character) =>
    character
      .split('')
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
      .join(''),
  );
}
