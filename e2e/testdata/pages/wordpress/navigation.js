import { store } from "@wordpress/interactivity";
store("navigation");
