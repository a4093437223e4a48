// Asks for each URL on a connection of its own, by java.net and java.nio in turns, and prints it and the status: Client.java URL...

import java.net.HttpURLConnection;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;

public final class Client {
    public static void main(String[] urls) throws Exception {
        System.setProperty("http.keepAlive", "false");
        for (int i = 0; i < urls.length; i++) {
            var uri = URI.create(urls[i]);
            System.out.println(uri + " " + (i % 2 == 0 ? ask(uri) : askByNio(uri)));
        }
        // The threads of its clients would be waited for.
        System.exit(0);
    }

    private static int ask(URI uri) throws Exception {
        var connection = (HttpURLConnection) uri.toURL().openConnection();
        int status = connection.getResponseCode();
        connection.getInputStream().readAllBytes();
        return status;
    }

    private static int askByNio(URI uri) throws Exception {
        // Connections are kept by a client, and by nobody else.
        var client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        return client.send(HttpRequest.newBuilder(uri).build(), BodyHandlers.ofByteArray()).statusCode();
    }
}
