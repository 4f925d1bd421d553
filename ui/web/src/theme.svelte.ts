/** Light or dark: the system's, until the user chooses. The choice is a taste, so it is kept here and not in links. */
import type { ThemeName } from "./scene/palette";

const KEY = "scope.theme";

export class Theme {
  private readonly system = matchMedia("(prefers-color-scheme: dark)");
  private chosen = $state<ThemeName | null>(stored());
  private systemDark = $state(this.system.matches);
  readonly name = $derived<ThemeName>(this.chosen ?? (this.systemDark ? "dark" : "light"));

  constructor() {
    this.system.addEventListener("change", (event) => (this.systemDark = event.matches));
  }

  toggle(): void {
    this.chosen = this.name === "dark" ? "light" : "dark";
    try {
      localStorage.setItem(KEY, this.chosen);
    } catch {
      // Storage may be forbidden; then the choice lasts as long as the page.
    }
  }
}

function stored(): ThemeName | null {
  try {
    const value = localStorage.getItem(KEY);
    return value === "light" || value === "dark" ? value : null;
  } catch {
    return null;
  }
}
