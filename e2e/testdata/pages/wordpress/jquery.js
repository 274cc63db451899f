// As much of jQuery as the page uses.
window.jQuery = function (ready) { document.addEventListener("DOMContentLoaded", function () { ready(jQuery); }); };
jQuery.post = function (url, data, done) {
	var request = new XMLHttpRequest();
	request.open("POST", url);
	request.setRequestHeader("X-Requested-With", "XMLHttpRequest");
	request.setRequestHeader("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8");
	request.onload = function () { done(JSON.parse(request.responseText)); };
	request.send(new URLSearchParams(data).toString());
};
